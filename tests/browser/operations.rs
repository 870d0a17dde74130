//! The page shows every operation, and each can be tried out.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::reference::{Reference, documented};
use crate::server::Server;

/// Fails the test if a page sent a request to another host than the server.
fn assert_all_asked_of(browser: &Browser, server: &Server) {
    let requests = browser.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(request.url.origin().ascii_serialization(), server.origin(), "{request:?}");
    }
}

fn assert_no_errors(browser: &Browser) {
    assert_eq!(browser.errors(), [] as [String; 0]);
}

#[test]
fn every_operation_is_shown_once() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let page = Reference::open(&browser, &server);
    let shown = page.operations();
    let distinct: BTreeSet<_> = shown.iter().cloned().collect();
    assert_eq!(distinct, documented().into_keys().collect());
    assert_eq!(shown.len(), distinct.len(), "none twice: {shown:?}");
    for schema in ["Credentials", "Message", "Problem"] {
        assert!(browser.text("section.models").contains(schema), "{schema}");
    }
    // An operation is rendered only when it is unfolded.
    for ((method, path), statuses) in documented() {
        let operation = page.try_out(&method, &path);
        assert_eq!(operation.statuses(), statuses, "{method} {path}");
        assert!(!browser.text("body").contains("Could not render"), "{method} {path}");
        operation.fold();
    }
    assert_no_errors(&browser);
    assert_all_asked_of(&browser, &server);
}

#[test]
fn everything_can_be_tried_out() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    server.sign_up("bob", "correct horse");
    let page = Reference::open(&browser, &server);
    let credentials = json!({ "username": "alice", "password": "open sesame" });

    let registered = page.try_out("POST", "/register").body(&credentials).execute_last();
    assert_eq!(registered.status, "201", "{registered:?}");
    let id = registered.body["id"].as_u64().expect("an id");
    assert!(registered.headers.contains(&format!("location: /api/users/{id}")), "{registered:?}");

    // A login on the page authorizes it at once.
    assert!(!page.is_authorized());
    let logged_in = page.try_out("POST", "/login").body(&credentials).execute_last();
    assert_eq!(logged_in.status, "200", "{logged_in:?}");
    let token = logged_in.body["token"].as_str().expect("a token").to_owned();
    let me = page.try_out("GET", "/api/users/{id}").parameter("id", "me");
    let is_alice = json!({ "id": id, "username": "alice" });
    let shown = me.execute();
    assert_eq!((shown.status.as_str(), &shown.body), ("200", &is_alice), "{shown:?}");
    assert_eq!(shown.url, server.url("/api/users/me"));
    assert!(page.is_authorized());
    assert_no_errors(&browser);

    // Logged out, and then authorized by hand.
    page.log_out();
    assert!(!page.is_authorized());
    let refused = me.execute();
    assert_eq!(refused.status, "401", "{refused:?}");
    assert_eq!(refused.body["type"], "/problems/token-missing");
    assert_is_report_of_401(&browser, &server.url("/api/users/me"));
    page.authorize(&token);
    assert!(page.is_authorized());
    let shown = me.execute();
    assert_eq!((shown.status.as_str(), &shown.body), ("200", &is_alice), "{shown:?}");
    let shown = me.parameter("id", &id.to_string()).execute_last();
    assert_eq!((shown.status.as_str(), &shown.body), ("200", &is_alice), "{shown:?}");
    assert_eq!(shown.url, server.url(&format!("/api/users/{id}")));

    let text = "From the page: \"привет\", <b>&amp;</b>";
    let posted =
        page.try_out("POST", "/api/messages").body(&json!({ "text": text })).execute_last();
    assert_eq!(posted.status, "201", "{posted:?}");
    let message = posted.body["id"].as_u64().expect("an id").to_string();
    let read = page.try_out("GET", "/api/messages").execute_last();
    assert_eq!(read.status, "200", "{read:?}");
    assert_eq!(read.body[0]["text"], text, "{read:?}");
    assert!(read.headers.contains("rel=\"next\""), "{read:?}");
    let read = page.try_out("GET", "/api/messages/{id}").parameter("id", &message).execute_last();
    assert_eq!(read.status, "200", "{read:?}");
    assert_eq!(read.body["text"], text, "{read:?}");
    assert!(read.headers.contains("etag: \""), "{read:?}");

    // Bob was the first.
    let private = page.try_out("POST", "/api/users/{id}/messages").parameter("id", "1");
    let posted = private.body(&json!({ "text": "for bob" })).execute_last();
    assert_eq!(posted.status, "201", "{posted:?}");
    let read = page.try_out("GET", "/api/users/{id}/messages");
    let read = read.parameter("id", "me").parameter("limit", "5").execute_last();
    assert_eq!(read.status, "200", "{read:?}");
    assert_eq!(read.body[0]["text"], "for bob", "{read:?}");
    assert_eq!(read.url, server.url("/api/users/me/messages?limit=5"));
    let read = page.try_out("GET", "/api/users").parameter("username", "ALICE").execute_last();
    assert_eq!(read.body, json!([is_alice]), "{read:?}");

    assert_no_errors(&browser);
    assert_all_asked_of(&browser, &server);
}

#[test]
fn a_wrong_password_is_shown_as_a_problem() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    server.sign_up("alice", "open sesame");
    let page = Reference::open(&browser, &server);
    let credentials = json!({ "username": "alice", "password": "open barley" });
    let refused = page.try_out("POST", "/login").body(&credentials).execute();
    assert_eq!(refused.status, "401", "{refused:?}");
    assert_eq!(refused.body["type"], "/problems/wrong-credentials", "{refused:?}");
    assert_eq!(refused.body["status"], 401, "{refused:?}");
    assert!(matches!(refused.body["title"], Value::String(_)), "{refused:?}");
    assert!(refused.headers.contains("content-type: application/problem+json"), "{refused:?}");
    assert!(!page.is_authorized());
    assert_is_report_of_401(&browser, &server.url("/login"));
    assert_all_asked_of(&browser, &server);
}

/// On the console the browser itself reports that a response was no success; it reports nothing
/// else.
fn assert_is_report_of_401(browser: &Browser, url: &str) {
    let errors = browser.errors();
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert!(error.starts_with(&format!("{url} ")) && error.contains("401"), "{error}");
}
