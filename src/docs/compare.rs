//! Compares a response with the one that a page shows.
//!
//! A shared list, that is, the general chat or the list of users, may hold items of other users.
//! There the items of this run are compared that the request asks for: each must be as documented,
//! unless items of others took its place on the page.

mod catalogue;
mod response;
mod shared;
mod verdict;

pub use self::catalogue::Catalogue;
use self::response::ParsedResponse;
use self::shared::{Comparison, SharedClaims};
pub(super) use self::verdict::excerpt;
pub use self::verdict::{Difference, ExampleVerdict};
use super::session::RecordedExchange;
use super::translate::Translation;

/// The `Location` of a documented 201; the outer `None` stands for any other status.
#[must_use]
pub fn made(documented: &str) -> Option<Option<&str>> {
    let documented = ParsedResponse::parse(documented);
    documented.status.starts_with("201").then(|| documented.field("Location"))
}

/// `true` if the documented response says that something was created, and not replayed.
#[must_use]
pub fn makes(documented: &str) -> bool {
    let documented = ParsedResponse::parse(documented);
    documented.status.starts_with("201") && documented.field("Idempotency-Replayed").is_none()
}

/// Compares a response with the documented one. `target` is the request's target, without the
/// deployment's prefix.
pub fn compare(
    documented: &str,
    exchange: &RecordedExchange,
    target: &str,
    translation: &mut Translation,
    catalogue: &Catalogue,
) -> ExampleVerdict {
    let (documented, actual) =
        (ParsedResponse::parse(documented), ParsedResponse::parse(&exchange.response));
    let mut verdict = ExampleVerdict::default();
    if documented.code() != actual.code() {
        verdict.add("status", documented.status, actual.status);
        verdict.add("body", documented.body, actual.body);
        return verdict;
    }
    if let (Some(documented), Some(actual)) = (documented.field("Link"), actual.field("Link")) {
        translation.learn_epoch(documented, actual);
    }
    let path = target.split('?').next().unwrap_or_default();
    let shared = SharedClaims::of(&exchange.method, target, &documented);
    verdict.compare_fields(&documented, &actual, shared.is_some(), translation);
    match (documented.json(), shared) {
        (body, Some(shared)) => {
            let comparison = Comparison { shared, translation, catalogue, documented: &documented };
            comparison.compare(body.is_some(), &actual, &mut verdict);
        }
        (Some(body), None) => {
            let expected = if speaks_of_us(path) { translation.json(&body) } else { body };
            verdict.compare_json(&expected, &actual);
        }
        (None, None) => verdict.compare_text(documented.body, actual.body),
    }
    verdict
}

/// `true` if the responses of a path hold users and messages.
fn speaks_of_us(path: &str) -> bool {
    path.starts_with("/api/") || path.ends_with("/register") || path.ends_with("/login")
}

#[cfg(test)]
mod tests;
