//! Checks the links between files.

use std::fs;
use std::path::Path;

use crate::page::{anchor, root};

/// The links in the page at `path` that lead to no file, or to no heading in one.
pub(crate) fn broken(path: &str) -> Vec<String> {
    let page = root().join(path);
    let source = fs::read_to_string(&page).unwrap();
    let targets = source.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let internal = targets.filter(|target| !target.contains("://"));
    let broken = internal.filter(|target| !leads_somewhere(&page, target));
    broken.map(|target| format!("{path}: {target}")).collect()
}

fn leads_somewhere(page: &Path, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { page } else { &page.with_file_name(file) };
    if heading.is_empty() {
        return file.exists();
    }
    let Ok(source) = fs::read_to_string(file) else { return false };
    let mut headings = source.lines().filter(|line| line.starts_with('#')).map(anchor);
    headings.any(|anchor| anchor == heading)
}
