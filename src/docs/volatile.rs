//! What differs from one run of the real server to the next, all of it.

use std::fmt::Write as _;

/// What goes before the value, which bytes end it, and what it is called where it is masked.
const VOLATILE: &[(&str, &[char], &str)] = &[
    ("\nDate: ", &['\n'], "date"),
    ("\"token\":\"", &['"'], "token"),
    ("\"sent_at\":\"", &['"'], "time"),
    ("&epoch=", &['>', '&'], "epoch"),
];

/// The response with a name and a length in place of each volatile value.
pub(crate) fn mask(response: &str) -> String {
    let mut masked = response.to_owned();
    for (before, ends, name) in VOLATILE {
        let mut pieces = masked.split(before);
        let mut result = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (value, rest) = piece.split_at(piece.find(*ends).unwrap_or(piece.len()));
            let _ = write!(result, "{before}<{name}, {} bytes>{rest}", value.len());
        }
        masked = result;
    }
    masked
}

#[test]
fn only_volatile_values_are_masked() {
    let response = "HTTP/1.1 200 OK\nDate: Mon, 1\nLink: </x?after=3&epoch=aa>; rel=\"next\"\n\n\
                    [{\"id\":1,\"sent_at\":\"now\"},{\"id\":2,\"sent_at\":\"then\"}]";
    let masked = "HTTP/1.1 200 OK\nDate: <date, 6 bytes>\n\
                  Link: </x?after=3&epoch=<epoch, 2 bytes>>; rel=\"next\"\n\n\
                  [{\"id\":1,\"sent_at\":\"<time, 3 bytes>\"},{\"id\":2,\"sent_at\":\"<time, 4 bytes>\"}]";
    assert_eq!(mask(response), masked);
}
