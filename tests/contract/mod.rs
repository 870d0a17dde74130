//! The contract with clients: `docs/openapi.json`. Every response that a test receives is checked
//! against it.
//!
//! It does not use the code's own tables, and works with the document alone, as a client would.
//! Anything that the document does not mention is refused: a status, a media type, a member of an
//! object, a field of the head.

pub(crate) mod document;
pub(crate) mod response;

use std::fmt::{self, Display, Formatter};

pub(crate) use document::Document;
pub(crate) use response::Answered;

/// The relevant parts of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    /// The target as it was sent, with or without a query.
    pub(crate) target: &'a str,
}

impl Asked<'_> {
    fn is_head(self) -> bool {
        self.method == "HEAD"
    }

    /// The path without the query, and without the authority of a proxy's request.
    fn path(&self) -> &str {
        let target = match self.target.strip_prefix("http://") {
            Some(rest) => rest.find('/').map_or("", |slash| &rest[slash..]),
            None => self.target,
        };
        target.split('?').next().unwrap_or_default()
    }
}

impl Display for Asked<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)
    }
}

/// Checks an answer, and returns what is wrong with it. If `asked` is unknown, some operation must
/// allow the answer.
pub(crate) fn check(asked: Option<Asked<'_>>, answered: &Answered<'_>) -> Result<(), String> {
    let document = Document::committed();
    let checked = answered.check_head().and_then(|()| {
        asked.map_or_else(
            || check_any(document, answered),
            |asked| check_answer(document, asked, answered),
        )
    });
    checked.map_err(|why| {
        let asked = asked.map_or("an unknown request".to_owned(), |asked| asked.to_string());
        format!("{asked} was answered {}, against {}: {why}", answered.status, document::PATH)
    })
}

fn check_any(document: &Document, answered: &Answered<'_>) -> Result<(), String> {
    let mut whys = Vec::new();
    for response in document.responses(answered.status) {
        match response.check(answered, false) {
            Ok(()) => return Ok(()),
            Err(why) => whys.push(why),
        }
    }
    Err(format!("fits no operation: {whys:#?}"))
}

fn check_answer(
    document: &Document,
    asked: Asked<'_>,
    answered: &Answered<'_>,
) -> Result<(), String> {
    let Some(path) = document.path(asked.path()) else {
        return document.no_such_path.check_status(answered, 404, asked.is_head());
    };
    let method = if asked.is_head() { "GET" } else { asked.method };
    if let Some(operation) = path.operation(method) {
        let response = operation.response(answered.status);
        let response = response.ok_or_else(|| format!("{} lacks the status", path.template))?;
        return response.check(answered, asked.is_head());
    }
    if asked.method == "OPTIONS" && answered.status == 204 {
        answered.check_list("Access-Control-Allow-Methods", &path.methods())?;
        return answered.check_nothing();
    }
    answered.check_list("Allow", &path.methods())?;
    document.method_not_allowed.check_status(answered, 405, asked.is_head())
}
