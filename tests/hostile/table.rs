//! The table of the cases in `docs/security.md`, generated from the cases.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::case::{self, Case, DIR};

/// The page; the table is between these two lines.
const PATH: &str = "docs/security.md";
const BEGIN: &str = "<!-- the cases: begin -->\n";
const END: &str = "<!-- the cases: end -->\n";

/// The smallest acceptable number of cases.
const MIN_CASES: usize = 150;

#[test]
fn the_table_is_of_the_cases() {
    let cases = case::all();
    assert!(cases.len() >= MIN_CASES, "{} cases", cases.len());
    let table = table(&cases);
    let committed = fs::read_to_string(path()).unwrap();
    let (before, rest) = committed.split_once(BEGIN).expect("where the table begins");
    let (found, behind) = rest.split_once(END).expect("where the table ends");
    if std::env::var_os("VECHE_DOCS").is_some_and(|mode| mode == "rewrite") {
        fs::write(path(), format!("{before}{BEGIN}{table}{END}{behind}")).unwrap();
        return;
    }
    assert!(found == table, "{PATH} is out of date");
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH)
}

/// A heading and a table for each directory.
fn table(cases: &[Case]) -> String {
    let mut table = format!("There are {} of them, in `{DIR}`.\n", cases.len());
    let mut last = "";
    for case in cases {
        let group = case.name.split('/').next().unwrap_or_default();
        if group != last {
            let _ =
                write!(table, "\n### {group}\n\n| case | direct | behind nginx |\n|---|---|---|\n");
            last = group;
        }
        let leaks = if case.leaks == 0 { "" } else { "; lost for good" };
        let Case { what, direct, nginx, .. } = case;
        let _ = writeln!(table, "| {what} | {direct}{leaks} | {nginx} |");
    }
    table
}
