//! The parameters of an operation, in the document and in the server.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::client::{Answer, Client};
use crate::contract::Document;
use crate::server::Server;
use crate::wire::{Wire, request};

/// An operation that can be repeated with a good answer.
struct Operation {
    method: String,
    path: String,
    body: Option<Value>,
    query: BTreeSet<&'static str>,
    /// The request fields that it uses.
    fields: BTreeSet<&'static str>,
}

/// Operations that cannot be repeated: after one of them the caller has no access any more, or has
/// to name a session.
const ONCE: [&str; 5] = [
    "/logout",
    "/logout/all",
    "/api/users/me/password",
    "/api/users/me/deletion",
    "/api/users/me/sessions/{sid}",
];

/// Resolves a reference of the document.
fn resolved(schema: &'static Value) -> &'static Value {
    match schema["$ref"].as_str().and_then(|it| it.strip_prefix('#')) {
        Some(pointer) => Document::json().pointer(pointer).expect("a schema"),
        None => schema,
    }
}

/// A value that a schema allows. The item with the lowest id exists.
fn fitting(schema: &'static Value) -> Value {
    let schema = resolved(schema);
    let listed = [&schema["const"], &schema["enum"][0], &schema["example"], &schema["minimum"]];
    match listed.into_iter().find(|value| !value.is_null()) {
        Some(value) => value.clone(),
        None => fitting(&schema["anyOf"][0]),
    }
}

fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    let paths = Document::json()["paths"].as_object().expect("paths");
    for (template, methods) in paths.iter().filter(|(path, _)| !ONCE.contains(&path.as_str())) {
        for (method, operation) in methods.as_object().expect("operations") {
            let mut path = template.clone();
            let mut query = BTreeSet::new();
            let mut fields = BTreeSet::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().expect("a name");
                match parameter["in"].as_str() {
                    Some("path") => {
                        let value = fitting(&parameter["schema"]);
                        let value = value.as_str().map_or(value.to_string(), str::to_owned);
                        path = path.replace(&format!("{{{name}}}"), &value);
                    }
                    Some("query") => assert!(query.insert(name), "{template}: {name} twice"),
                    Some("header") => assert!(fields.insert(name), "{template}: {name} twice"),
                    _ => panic!("{template}: what is {parameter}?"),
                }
            }
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let body = operation.get("requestBody").map(|_| {
                let schema = resolved(schema);
                let names = schema["required"].as_array().expect("members").iter();
                let names = names.map(|name| name.as_str().expect("a name"));
                let members =
                    names.map(|name| (name.to_owned(), fitting(&schema["properties"][name])));
                Value::from(members.collect::<Map<_, _>>())
            });
            let method = method.to_ascii_uppercase();
            operations.push(Operation { method, path, body, query, fields });
        }
    }
    operations
}

/// Sends a request on a connection of its own.
fn ask(
    server: &Server,
    client: &Client,
    operation: &Operation,
    query: &str,
    fields: &str,
) -> Answer {
    let Operation { method, path, body, .. } = operation;
    let body = body.as_ref().map(Value::to_string).unwrap_or_default();
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let mut wire = Wire::connect(server.addr());
    wire.send(request(
        client,
        &format!("{method} {path}{query} HTTP/1.1"),
        &format!("{length}{fields}"),
        &body,
    ));
    wire.answer()
}

/// A server with a first message, which the document mentions, by a first user, who may call every
/// operation.
fn begun(dir: &Path) -> (Server, Client) {
    let server = Server::start_with("memory", dir, &["--operator", "first"]);
    let first = Client::signed_up(&server, "first");
    assert_eq!((first.id(), first.say("first")), (1, 0));
    let example = operations().into_iter().find(|operation| operation.path == "/register");
    let example = example.and_then(|operation| operation.body).expect("an example");
    assert_eq!(first.post("/register", &example).status, 201);
    (server, first)
}

/// The comparable part of an answer to a repeated request: ids and tokens differ.
fn outcome(operation: &Operation, answer: &Answer) -> (u16, Vec<u8>) {
    let body = if operation.method == "GET" { answer.body.clone() } else { Vec::new() };
    (answer.status, body)
}

#[test]
fn the_query_parameters_are_the_documented_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = begun(dir.path());
    let operations = operations();
    let all: BTreeSet<_> = operations.iter().flat_map(|operation| &operation.query).collect();
    let mut asked = (0, 0);
    for operation in &operations {
        let Operation { method, path, query, .. } = operation;
        let plain = ask(&server, &client, operation, "", "");
        // A second registration is answered that the name is taken.
        assert!(plain.status < 300 || plain.status == 409, "{method} {path}: {plain:?}");
        for &&name in &all {
            let answer = ask(&server, &client, operation, &format!("?{name}=x&{name}=x"), "");
            let what = format!("{method} {path} with {name}: {answer:?}");
            if query.contains(name) {
                assert_eq!(
                    (answer.status, &answer.json()["parameter"]),
                    (400, &json!(name)),
                    "{what}"
                );
                asked.0 += 1;
            } else {
                assert!(outcome(operation, &answer) == outcome(operation, &plain), "{what}");
                asked.1 += 1;
            }
        }
    }
    assert!(asked.0 >= 14 && asked.1 >= 70, "{asked:?}");
}

/// RFC 9110, section 13.1.2: `*` stands for any version.
#[test]
fn the_conditional_operations_are_the_documented_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = begun(dir.path());
    let mut asked = (0, 0);
    for operation in operations() {
        let Operation { method, path, fields, .. } = &operation;
        let plain = ask(&server, &client, &operation, "", "");
        let answer = ask(&server, &client, &operation, "", "If-None-Match: *\r\n");
        let what = format!("{method} {path}: {answer:?}");
        // A message that was changed just now has a new tag.
        let tagged = fields.contains("If-None-Match") || method == "PATCH";
        assert_eq!(plain.header("ETag").is_some(), tagged, "{what}");
        if fields.contains("If-None-Match") {
            assert_eq!(answer.status, 304, "{what}");
            asked.0 += 1;
        } else {
            assert!(outcome(&operation, &answer) == outcome(&operation, &plain), "{what}");
            asked.1 += 1;
        }
    }
    assert!(asked.0 >= 4 && asked.1 >= 12, "{asked:?}");
}

#[test]
fn the_repeatable_operations_are_the_documented_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = begun(dir.path());
    let mut asked = (0, 0);
    for operation in operations() {
        let Operation { method, path, fields, .. } = &operation;
        let key = format!("Idempotency-Key: \"{}\"\r\n", path.replace('/', "-"));
        let plain = ask(&server, &client, &operation, "", &key);
        let again = ask(&server, &client, &operation, "", &key);
        let malformed = ask(&server, &client, &operation, "", "Idempotency-Key: \"\r\n");
        let what = format!("{method} {path}: {again:?}, {malformed:?}");
        assert_eq!(plain.header("Idempotency-Replayed"), None, "{what}");
        if fields.contains("Idempotency-Key") {
            assert_eq!(again.header("Idempotency-Replayed"), Some("true"), "{what}");
            assert_eq!((again.status, &again.body), (plain.status, &plain.body), "{what}");
            assert_eq!(malformed.problem(), "malformed-idempotency-key", "{what}");
            asked.0 += 1;
        } else {
            assert_eq!(again.header("Idempotency-Replayed"), None, "{what}");
            assert_eq!(malformed.status, again.status, "{what}");
            asked.1 += 1;
        }
    }
    assert!(asked.0 >= 2 && asked.1 >= 14, "{asked:?}");
}

/// RFC 7240, section 4.3: a preference to wait for 0 seconds is answered at once.
#[test]
fn the_operations_that_wait_are_the_documented_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = begun(dir.path());
    let mut waiting = Vec::new();
    for operation in operations() {
        let Operation { method, path, fields, query, .. } = &operation;
        let answer = ask(&server, &client, &operation, "?after=0", "Prefer: wait=0\r\n");
        let what = format!("{method} {path}: {answer:?}");
        assert_eq!(
            answer.header("Preference-Applied"),
            fields.contains("Prefer").then_some("wait=0"),
            "{what}"
        );
        assert_eq!(query.contains("wait"), fields.contains("Prefer"), "{what}");
        if fields.contains("Prefer") {
            waiting.push(path.clone());
        }
    }
    waiting.sort();
    assert_eq!(waiting, ["/api/events", "/api/messages", "/api/users/me/messages"]);
}

/// RFC 9110, section 13.1.1: a guarded change is refused if the version has changed.
#[test]
fn the_guarded_operations_are_the_documented_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (server, client) = begun(dir.path());
    let mut guards = Vec::new();
    for operation in operations() {
        let Operation { method, path, fields, .. } = &operation;
        let answer = ask(&server, &client, &operation, "", "If-Match: \"another\"\r\n");
        assert_eq!(
            answer.status == 412,
            fields.contains("If-Match"),
            "{method} {path}: {answer:?}"
        );
        if fields.contains("If-Match") {
            guards.push(method.clone());
        }
    }
    guards.sort();
    assert_eq!(guards, ["DELETE", "PATCH"]);
}
