//! Checks examples against the contract.

use veche::docs::session::RecordedExchange;

use crate::contract::{self, Answered, Asked};

/// Fails the test unless the `OpenAPI` document allows the response.
pub(crate) fn check(exchange: &RecordedExchange) {
    let RecordedExchange { name, method, path, response, .. } = exchange;
    let (head, body) = response.split_once("\n\n").unwrap_or((response, ""));
    let fields: Vec<_> = head.lines().skip(1).map(field).collect();
    let answered = Answered { status: exchange.status(), fields: &fields, body: body.as_bytes() };
    let asked = Asked { method, target: path };
    contract::check(Some(asked), &answered).unwrap_or_else(|why| panic!("{name}: {why}"));
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap();
    (name.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "201 Created\n\
        Content-Type: application/json\n\
        Content-Length: 8\n\
        Cache-Control: no-store\n\
        X-Content-Type-Options: nosniff\n\
        Location: /api/users/1\n\n\
        {\"id\":1}";

    fn checked(method: &str, target: &str, response: &str) -> Result<(), String> {
        checked_as(Some(Asked { method, target }), response)
    }

    fn checked_as(asked: Option<Asked<'_>>, response: &str) -> Result<(), String> {
        let (head, body) = response.split_once("\n\n").unwrap();
        let fields: Vec<_> = head.lines().skip(1).map(field).collect();
        let status = head[..3].parse().unwrap();
        let answered = Answered { status, fields: &fields, body: body.as_bytes() };
        contract::check(asked, &answered)
    }

    #[test]
    fn a_promise_is_broken_by_little() {
        for target in ["/register", "/users/register?x=1", "http://veche:5000/register"] {
            checked("POST", target, GOOD).unwrap();
        }
        for (good, bad) in [
            ("201", "200"),
            ("application/json", "application/problem+json"),
            ("application/json", "application/json; charset=utf-8"),
            ("Content-Length: 8", "Content-Length: 9"),
            ("no-store", "private, no-cache"),
            ("X-Content-Type-Options: nosniff\n", ""),
            ("Cache-Control: no-store\n", ""),
            ("Content-Type: application/json\n", ""),
            ("Location: /api/users/1", "Location: http://[/"),
            ("\nLocation: /api/users/1", ""),
            ("Location: /api/users/1", "Location: /api/users/1\nlocation: /api/users/1"),
            ("Location: /api/users/1", "Location: /api/users/1\nETag: \"1\""),
            ("Location: /api/users/1", "Location: /api/users/1\nX-Powered-By: x"),
            ("{\"id\":1}", "{\"id\":0}"),
            ("{\"id\":1}", "{\"id\":1"),
            ("{\"id\":1}", ""),
        ] {
            let bad = GOOD.replace(good, bad);
            assert!(bad != GOOD && checked("POST", "/register", &bad).is_err(), "{bad}");
        }
        for (method, target) in [
            ("POST", "/login"),
            ("POST", "/register/"),
            ("POST", "/Register"),
            ("post", "/register"),
            ("GET", "/register"),
            ("HEAD", "/register"),
            ("OPTIONS", "/register"),
            ("POST", "/nowhere"),
        ] {
            assert!(checked(method, target, GOOD).is_err(), "{method} {target}");
        }
    }

    #[test]
    fn an_answer_of_unknown_origin_must_fit_some_operation() {
        checked_as(None, GOOD).unwrap();
        for (good, bad) in [("201", "299"), ("201", "200"), ("{\"id\":1}", "{\"it\":1}")] {
            assert!(checked_as(None, &GOOD.replace(good, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_methods_are_listed_wholly() {
        let refused = |allow: &str| {
            format!(
                "405 x\nContent-Type: application/problem+json\nCache-Control: no-store\n\
                 X-Content-Type-Options: nosniff\nAllow: {allow}\n\n{{\"type\":\
                 \"/problems/method-not-allowed\",\"title\":\"t\",\"status\":405,\"detail\":\"d\"}}"
            )
        };
        checked("PUT", "/api/messages", &refused("GET, HEAD, POST")).unwrap();
        checked("PUT", "/api/users/7", &refused("HEAD, GET")).unwrap();
        for allow in ["GET, HEAD", "GET, POST", "GET, HEAD, POST, PUT", "GET, GET, HEAD, POST", ""]
        {
            assert!(checked("PUT", "/api/messages", &refused(allow)).is_err(), "{allow}");
        }
        for (method, target) in
            [("GET", "/api/messages"), ("PUT", "/nowhere"), ("PUT", "/api/messages/")]
        {
            assert!(checked(method, target, &refused("GET, HEAD, POST")).is_err(), "{target}");
        }
    }
}
