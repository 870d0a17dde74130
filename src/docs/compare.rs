//! What differs between the response that a page shows and the one that came.
//!
//! A list that is everybody's, the general chat or the users, may hold what others have written.
//! There it is not the page shown that counts, but what of it is ours: that is what the request
//! asks for, each as the documentation shows it, unless others took its place on the page.

mod catalogue;
mod response;
mod shared;
mod verdict;

pub use self::catalogue::Catalogue;
use self::response::ParsedResponse;
use self::shared::{Comparison, SharedClaims};
pub(super) use self::verdict::excerpt;
pub use self::verdict::{Difference, Verdict};
use super::session::RecordedExchange;
use super::translate::Translation;

/// The `Location` that a page shows of what was made, if it was.
#[must_use]
pub fn made(documented: &str) -> Option<Option<&str>> {
    let documented = ParsedResponse::parse(documented);
    documented.status.starts_with("201").then(|| documented.field("Location"))
}

/// Whether a page shows that something was made, and not only answered again.
#[must_use]
pub fn makes(documented: &str) -> bool {
    let documented = ParsedResponse::parse(documented);
    documented.status.starts_with("201") && documented.field("Idempotency-Replayed").is_none()
}

/// Compares a response with that which the page shows. `target` is what was asked for, without
/// what the deployment has before the paths of the API.
pub fn compare(
    documented: &str,
    exchange: &RecordedExchange,
    target: &str,
    translation: &mut Translation,
    catalogue: &Catalogue,
) -> Verdict {
    let (documented, actual) =
        (ParsedResponse::parse(documented), ParsedResponse::parse(&exchange.response));
    let mut verdict = Verdict::default();
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

/// Whether the answers of a path speak of users and messages, rather than of the API.
fn speaks_of_us(path: &str) -> bool {
    path.starts_with("/api/") || path.ends_with("/register") || path.ends_with("/login")
}

#[cfg(test)]
mod tests;
