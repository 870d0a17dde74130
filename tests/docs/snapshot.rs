//! The accepted responses, in `snapshots/`, reviewed with `cargo insta review`.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::page::root;
use crate::session::RecordedExchange;

/// Compares each response with its snapshot. All are compared before the test fails, so that one
/// review shows all changes.
pub(crate) fn pin(exchanges: &[RecordedExchange]) {
    let changed =
        exchanges.iter().filter(|RecordedExchange { name, response, command, .. }| {
            catch_unwind(AssertUnwindSafe(|| pin_one(name, response, command))).is_err()
        });
    let changed: Vec<_> = changed.map(|exchange| &exchange.name).collect();
    assert!(changed.is_empty(), "not as accepted: {changed:?}; see `cargo insta review`");
}

/// Compares one text with its snapshot.
pub(crate) fn pin_one(name: &str, text: &str, description: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(description);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The accepted response with this name.
pub(crate) fn accepted(name: &str) -> String {
    let file = root().join("snapshots").join(format!("{name}.snap"));
    let snapshot = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    // The metadata are between two lines of dashes.
    let content = snapshot.splitn(3, "---\n").nth(2).expect("a snapshot");
    content.trim_end().to_owned()
}

/// The names of all snapshots.
pub(crate) fn names() -> BTreeSet<String> {
    let files = fs::read_dir(root().join("snapshots")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| Some(name.strip_suffix(".snap")?.to_owned())).collect()
}
