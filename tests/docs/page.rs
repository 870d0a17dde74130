//! The pages in the repository.

use std::fs;
use std::path::Path;

pub(crate) use veche::docs::page::{DocPage, anchor};

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The page at `path`. `name` is the prefix of its snapshots.
pub(crate) fn read(name: &str, path: &str) -> DocPage {
    let source = fs::read_to_string(root().join(path));
    let page = source.map_err(|e| e.to_string()).and_then(|source| DocPage::parse(name, source));
    page.unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// Writes the page at `path` again, with the accepted response for each name.
pub(crate) fn rewrite(page: &DocPage, path: &str, accepted: impl Fn(&str) -> String) {
    fs::write(root().join(path), page.rewritten(accepted)).unwrap();
}
