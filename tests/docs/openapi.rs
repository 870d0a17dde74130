//! The committed `OpenAPI` document.

use std::fs;

use serde_json::Value;
use veche::api::openapi::{self, Example};

use crate::page::root;
use crate::session::RecordedExchange;

/// The name of the snapshot.
pub(crate) const NAME: &str = "openapi";
/// The path in the repository. The server serves this file.
pub(crate) const PATH: &str = "docs/openapi.json";

/// The document as it should be: with every response in the pages as an example that is JSON or a
/// stream.
pub(crate) fn document(exchanges: &[&RecordedExchange]) -> String {
    let examples: Vec<_> = exchanges.iter().map(|exchange| example(exchange)).collect();
    let document = serde_json::to_string_pretty(&openapi::document(&examples)).unwrap();
    format!("{document}\n")
}

fn example(exchange: &RecordedExchange) -> Example<'_> {
    let (head, body) = exchange.response.split_once("\n\n").unwrap_or_default();
    let is_json = head.contains("json\n");
    let is_stream = head.contains("event-stream\n");
    Example {
        name: &exchange.name,
        title: &exchange.title,
        method: &exchange.method,
        path: &exchange.path,
        status: exchange.status(),
        content: match body {
            json if is_json => serde_json::from_str(json).unwrap(),
            events if is_stream => Value::from(events),
            _ => Value::Null,
        },
    }
}

/// The document as it is.
pub(crate) fn committed() -> String {
    fs::read_to_string(root().join(PATH)).unwrap()
}

/// Updates it. The next build serves it.
pub(crate) fn rewrite(document: &str) {
    fs::write(root().join(PATH), document).unwrap();
}
