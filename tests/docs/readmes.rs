//! The README in two languages, which must show the same.

use crate::page::{self, DocPage};

/// The README that is run.
const ENGLISH: &str = "README.md";
/// The README that is compared with it.
pub(crate) const RUSSIAN: &str = "README.ru.md";

/// The parts that do not depend on the language: the headings' levels, and the fences with their
/// content.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Heading(usize),
    Fence(Vec<&'a str>),
}

/// The first parts in which the two differ, one of each.
pub(crate) fn difference() -> Option<String> {
    let (english, russian) = (page::read("readme", ENGLISH), page::read("readme_ru", RUSSIAN));
    let (english, russian) = (parts(english.source()), parts(russian.source()));
    if english == russian {
        return None;
    }
    let differ = english.iter().zip(&russian).find(|(english, russian)| english != russian);
    Some(format!("{differ:#?}, of {} and {} parts", english.len(), russian.len()))
}

/// Copies the responses from the English README to the Russian one.
pub(crate) fn rewrite() {
    let (english, russian) = (page::read("readme", ENGLISH), page::read("readme_ru", RUSSIAN));
    page::rewrite(&russian, RUSSIAN, |name| {
        let number = russian.responses().position(|response| response.name == name);
        shown(&english, number.unwrap())
    });
}

fn shown(page: &DocPage, number: usize) -> String {
    let response = page.responses().nth(number).expect("there are as many responses");
    page.shown(response).to_owned()
}

fn parts(source: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let content = lines.by_ref().take_while(|line| *line != "```");
            parts.push(Part::Fence([line].into_iter().chain(content).collect()));
        } else if line.starts_with('#') {
            parts.push(Part::Heading(line.chars().take_while(|c| *c == '#').count()));
        }
    }
    parts
}

#[test]
fn words_make_no_difference_and_commands_do() {
    let english = parts("# A\nwords\n```sh\nls\n```\n## B\n");
    assert_eq!(english, parts("# Я\n```sh\nls\n```\nслова\n## Ю\n"));
    for other in ["# A\n```sh\nls -l\n```\n## B\n", "# A\n```sh no_run\nls\n```\n## B\n", "# A\n"] {
        assert_ne!(english, parts(other), "{other}");
    }
}
