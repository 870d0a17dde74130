use super::verdict::CONTEXT;
use super::*;
use crate::docs::address::Address;
use crate::docs::shell::CurlRequest;

const MESSAGES: &str = "[{\"id\":0,\"from_user\":1,\"to_user\":0,\"text\":\"zero\",\"sent_at\":\"2026-01-02T03:04:05.678Z\"},\
     {\"id\":1,\"from_user\":1,\"to_user\":0,\"text\":\"one\",\"sent_at\":\"2026-01-02T03:04:05.678Z\"}]";

/// User 1 is 40; messages 0 and 1 are 70 and 75.
fn translation() -> Translation {
    let address = Address::parse("http://chat").unwrap();
    let mut translation = Translation::new(address, "-0f-1".to_owned());
    for (target, location) in [
        ("/register", "/api/users/40"),
        ("/api/messages", "/api/messages/70"),
        ("/api/messages", "/api/messages/75"),
    ] {
        let request = CurlRequest {
            method: "POST".to_owned(),
            target: target.to_owned(),
            status: Some(201),
            location: Some(location.to_owned()),
        };
        translation.learn(&request, None).unwrap();
    }
    translation
}

fn verdict(target: &str, documented: &str, actual: &str) -> ExampleVerdict {
    let exchange = RecordedExchange {
        name: String::new(),
        title: String::new(),
        command: String::new(),
        method: "GET".to_owned(),
        path: String::new(),
        response: actual.to_owned(),
    };
    let catalogue = Catalogue::of([MESSAGES].into_iter());
    compare(documented, &exchange, target, &mut translation(), &catalogue)
}

fn whats(verdict: &ExampleVerdict) -> Vec<&str> {
    verdict.differences.iter().map(|it| it.what.as_str()).collect()
}

#[test]
fn what_a_front_may_change_is_no_difference() {
    let documented = "HTTP/1.1 200 OK\nDate: x\nContent-Type: application/json\nConnection: close\n\
                      Content-Length: 2\nAllow: GET\nETag: \"a\"\n\n{\"id\":1,\"token\":\"a.b.c\"}";
    let actual = "HTTP/1.1 200 Fine\ncontent-type: application/json; charset=utf-8\nVia: x\n\
                  allow: GET\netag: W/\"b\"\n\n{\"token\":\"x.y.z\",\"id\":40}";
    assert_eq!(verdict("/api/users/me", documented, actual), ExampleVerdict::default());
}

#[test]
fn what_differs_is_named() {
    let documented = "HTTP/1.1 200 OK\nAllow: GET\nLocation: /api/users/1\n\n\
                      {\"id\":1,\"token\":\"a.b.c\",\"text\":\"a\",\"list\":[1]}";
    let actual = "HTTP/1.1 200 OK\nAllow: POST\n\n\
                  {\"id\":1,\"token\":\"abc\",\"text\":\"b\\u0007\",\"more\":0,\"list\":[1,2]}";
    let verdict = verdict("/api/users/me", documented, actual);
    assert_eq!(
        whats(&verdict),
        ["Allow", "Location", "body.id", "body.token", "body.text", "body.list", "body.more"]
    );
    let shown: Vec<_> = verdict.differences.iter().map(|it| (&*it.expected, &*it.actual)).collect();
    assert_eq!(shown[1], ("/api/users/40", "nothing"));
    assert_eq!(shown[2], ("40", "1"));
    assert_eq!(shown[4], ("\"a\"", "\"b\\u0007\""));
}

#[test]
fn another_status_is_not_compared_further() {
    let differs = verdict("/", "HTTP/1.1 200 OK\nA: b\n\n{}", "HTTP/1.1 403 No\n\n\x1b[31mno");
    assert_eq!(whats(&differs), ["status", "body"]);
    assert_eq!(differs.differences[1].actual, "\\u{1b}[31mno");
}

#[test]
fn what_is_long_is_shown_from_the_difference_on() {
    let (expected, actual) = (format!("{}b", "a".repeat(500)), "a".repeat(501));
    let differs = verdict(
        "/",
        &format!("HTTP/1.1 200 OK\n\n{expected}"),
        &format!("HTTP/1.1 200 OK\n\n{actual}"),
    );
    assert_eq!(differs.differences[0].expected, format!("…{}b", "a".repeat(CONTEXT)));
}

/// A page of the general chat: `shown` are ids, of which 70 and 75 are ours.
fn chat(query: &str, shown: &[u64], link: &str) -> ExampleVerdict {
    let documented = format!(
        "HTTP/1.1 200 OK\nLink: </api/messages?after=1&limit=2&epoch=5eed0000c4a70001>; rel=\"next\"\n\n{MESSAGES}"
    );
    let item = |id: &u64| {
        let (author, text) = match id {
            70 => (40, "zero"),
            75 => (40, "one"),
            _ => (3, "something else"),
        };
        format!(
            "{{\"id\":{id},\"from_user\":{author},\"to_user\":0,\"text\":\"{text}\",\"sent_at\":\"2026-07-02T03:04:05.678Z\"}}"
        )
    };
    let items: Vec<_> = shown.iter().map(item).collect();
    let link = link.replace('$', "limit=2&epoch=00000000000000aa>; rel=");
    let link = link.replace("</", "</api/messages");
    let actual = format!("HTTP/1.1 200 OK\nLink: {link}\n\n[{}]", items.join(","));
    verdict(&format!("/api/messages?limit=2{query}"), &documented, &actual)
}

#[test]
fn others_may_stand_beside_and_before_us() {
    for (query, shown, link, others) in [
        ("", &[70, 75][..], "</?after=75&$\"next\"", 0),
        ("", &[70, 75], "</?before=70&$\"prev\", </?after=75&$\"next\"", 0),
        ("", &[75, 76], "</?before=75&$\"prev\", </?after=76&$\"next\"", 1),
        ("", &[80, 81], "</?before=80&$\"prev\", </?after=81&$\"next\"", 2),
        ("&before=75", &[69, 70], "</?after=70&$\"next\"", 1),
        ("&before=75", &[71, 72], "</?before=71&$\"prev\", </?after=72&$\"next\"", 2),
        ("&after=-1", &[0, 5], "</?after=5&$\"next\"", 2),
        ("&after=5", &[60, 70], "</?before=60&$\"prev\", </?after=70&$\"next\"", 1),
        ("&after=70", &[75], "</?before=75&$\"prev\", </?after=75&$\"next\"", 0),
        ("&after=75", &[], "</?before=76&$\"prev\", </?after=75&$\"next\"", 0),
        ("&after=75", &[80], "</?before=80&$\"prev\", </?after=80&$\"next\"", 1),
    ] {
        let verdict = chat(query, shown, link);
        assert_eq!((whats(&verdict), verdict.others), (vec![], others), "{query} {shown:?}");
    }
}

#[test]
fn what_is_ours_is_not_missing() {
    for (query, shown, link, differs) in [
        ("", &[75][..], "</?before=75&$\"prev\", </?after=75&$\"next\"", "body, id 70"),
        ("", &[70, 76], "</?after=76&$\"next\"", "body, id 75"),
        ("", &[70, 75, 76], "</?after=76&$\"next\"", "body"),
        ("", &[75, 70], "</?after=70&$\"next\"", "body"),
        ("&after=-1", &[0], "</?after=0&$\"next\"", "body, id 70"),
        ("&after=-1", &[70, 75], "</?before=70&$\"prev\", </?after=75&$\"next\"", "Link"),
        ("&after=70", &[70, 75], "</?after=75&$\"next\"", "body"),
        ("&before=75", &[70, 75], "</?after=75&$\"next\"", "body"),
        ("", &[75, 76], "</?after=76&$\"next\"", "Link"),
        ("", &[70, 75], "</?after=76&$\"next\"", "Link"),
        ("", &[70, 75], "</?after=75&$\"newest\"", "Link"),
        ("", &[70, 75], "", "Link"),
    ] {
        let verdict = chat(query, shown, link);
        assert!(whats(&verdict).contains(&differs), "{query} {shown:?}: {verdict:?}");
    }
}
