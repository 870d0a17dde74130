//! Content negotiation by the `Accept` and `Accept-Encoding` fields (RFC 9110, section 12.5).

use super::stream;

/// `true` if a request prefers a stream of events to JSON, which is the default. Of two media types
/// of equal weight the one that is named more exactly is preferred.
pub(super) fn prefers_stream(accept: Option<&str>) -> bool {
    let Some(accept) = accept else { return false };
    let stream = preference(accept, stream::MEDIA_TYPE, "text/*");
    stream.0 > 0 && stream > preference(accept, "application/json", "application/*")
}

/// `true` if an `Accept-Encoding` field accepts gzip (RFC 9110, section 12.5.3).
pub(super) fn accepts_gzip(field: &str) -> bool {
    let weight_of = |wanted: &str| {
        weighted(field)
            .find_map(|(name, weight)| name.eq_ignore_ascii_case(wanted).then_some(weight))
    };
    weight_of("gzip").or_else(|| weight_of("*")).is_some_and(|weight| weight > 0)
}

/// The weight of a media type in thousandths, and the precision of the range that gives it. The
/// most precise range counts (RFC 9110, section 12.5.1).
fn preference(accept: &str, exact: &str, family: &str) -> (u16, u8) {
    let mut found = (0, 0);
    for (name, weight) in weighted(accept) {
        let precision = match name {
            _ if name.eq_ignore_ascii_case(exact) => 3,
            _ if name.eq_ignore_ascii_case(family) => 2,
            "*/*" => 1,
            _ => continue,
        };
        if precision > found.1 {
            found = (weight, precision);
        }
    }
    found
}

/// The elements of a list, each with its weight in thousandths. Other parameters are ignored.
fn weighted(field: &str) -> impl Iterator<Item = (&str, u16)> {
    field.split(',').map(|element| {
        let mut parts = element.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
        });
        (name, weight.unwrap_or(1000))
    })
}

/// A weight in thousandths (RFC 9110, section 12.4.2); 0 if it is malformed.
fn thousandths(weight: &str) -> u16 {
    let (whole, fraction) = weight.split_once('.').unwrap_or((weight, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    match whole {
        "0" if digits => format!("{fraction:0<3}").parse().unwrap_or(0),
        "1" if digits && fraction.bytes().all(|b| b == b'0') => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_default() {
        for accept in [
            "text/event-stream",
            "TEXT/Event-Stream",
            "text/event-stream; q=0.1",
            "text/event-stream, */*",
            "*/*;q=1, text/event-stream",
            "text/event-stream;charset=utf-8;q=0.9, application/json;q=0.8",
            "text/*, application/json;q=0.5",
            "text/*",
            "application/json;q=0, text/event-stream;q=0.001",
        ] {
            assert!(prefers_stream(Some(accept)), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "application/json",
            "application/json, text/event-stream",
            "text/event-stream;q=0.5, application/json",
            "text/event-stream;q=0",
            "text/event-stream;q=0, text/*",
            "text/event-stream;q=x",
            "text/event-stream;q=1.1",
            "text/event-stream;q=0.0001",
            "text/html, image/png",
            "text/event-streams",
            "application/*, text/*",
        ] {
            assert!(!prefers_stream(Some(accept)), "{accept}");
        }
        assert!(!prefers_stream(None));
    }

    #[test]
    fn gzip_is_sent_to_clients_that_accept_it() {
        for field in ["gzip", "GZIP", "deflate, gzip;q=1.0, *;q=0.5", "*", "gzip; q=0.001"] {
            assert!(accepts_gzip(field), "{field}");
        }
        for field in
            ["", "identity", "br", "gzip;q=0", "gzip;Q=0", "gzip;q=0.0, *", "*;q=0", "gzip;q=x"]
        {
            assert!(!accepts_gzip(field), "{field}");
        }
    }
}
