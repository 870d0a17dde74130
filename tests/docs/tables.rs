//! The tables in the pages that repeat tables in the code.

use std::collections::BTreeSet;

use veche::api::routes::{ROUTES, Route};
use veche::problem::{KINDS, NOT_AN_OPERATOR, ProblemType};

/// The rows of the table in `source` whose head begins with `first`, without the columns that the
/// code does not know.
pub(crate) fn rows(source: &str, first: &str) -> BTreeSet<String> {
    let head = format!("| {first} |");
    let table = source.lines().skip_while(|line| !line.starts_with(&head));
    table.skip(2).take_while(|line| line.starts_with('|')).map(|row| cells(row, 4)).collect()
}

/// The first `count` cells of a row.
fn cells(row: &str, count: usize) -> String {
    row.split_inclusive('|').take(count + 1).collect()
}

/// Method, path, caller, and statuses.
pub(crate) fn routes() -> BTreeSet<String> {
    let row = |route: &Route| {
        let who = match route.needs_token() {
            _ if route.operation.problems.contains(&NOT_AN_OPERATOR) => "operator",
            true => "token",
            false => "anyone",
        };
        let statuses: Vec<_> = route.operation.statuses().iter().map(u16::to_string).collect();
        format!("| {} | `{}` | {who} | {} |", route.method, route.path, statuses.join(", "))
    };
    ROUTES.iter().map(row).collect()
}

/// Status, kind, title, and advice.
pub(crate) fn kinds() -> BTreeSet<String> {
    let row = |kind: &&ProblemType| {
        format!("| {} | `{}` | {} | {} |", kind.status, kind.slug, kind.title, kind.advice)
    };
    KINDS.iter().map(row).collect()
}
