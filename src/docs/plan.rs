//! The plan of a run over all pages, to be shown before it writes anything.

use super::address::Address;
use super::page::{DocPage, DocStep};
use super::translate::{ORIGIN, Translation};
use super::{PAGES, Source, compare};

/// Number of hexadecimal digits that distinguish the names of a run.
pub const MARK_DIGITS: usize = 8;

/// Every page, and what it makes.
#[derive(Debug)]
pub struct Plan {
    /// The pages in order. Those that need another server are not run.
    pub pages: Vec<(&'static Source, DocPage)>,
    /// The accounts and messages that are created.
    pub creations: Creations,
}

/// Numbers of accounts and messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Creations {
    /// Accounts.
    pub accounts: usize,
    /// Messages to the general chat.
    pub general: usize,
    /// Messages from one of the accounts to another, or to itself.
    pub private: usize,
}

impl Plan {
    /// Makes the plan. The error names a page that cannot be run against a deployment.
    pub fn make() -> Result<Plan, String> {
        let mut plan = Plan { pages: Vec::new(), creations: Creations::default() };
        for source in PAGES {
            let named = |why| format!("{}: {why}", source.path);
            let page = DocPage::parse(source.name, source.text.to_owned()).map_err(named)?;
            for step in page.steps.iter().filter(|step| skipped(source, step).is_none()) {
                plan.creations.add(&page, step).map_err(named)?;
            }
            plan.pages.push((source, page));
        }
        Ok(plan)
    }

    /// The announcement of a run with this mark.
    #[must_use]
    pub fn announcement(&self, address: &Address, mark: &str) -> String {
        let Creations { accounts, general, private } = self.creations;
        let (cases, pages) = (self.cases(), self.pages.len());
        format!(
            "The {cases} examples on {pages} pages of the documentation, run against {address}, \
             write\n\
             \x20 {accounts} accounts, named like alice{}\n\
             \x20 {general} messages to the general chat, where everybody reads them\n\
             \x20 {private} private messages, between these accounts\n\
             They stay: there is no way to delete them.",
            page_mark(mark, 1),
        )
    }

    /// The number of examples.
    #[must_use]
    pub fn cases(&self) -> usize {
        self.pages.iter().map(|(_, page)| page.responses().count()).sum()
    }
}

/// The suffix of all names of a page. Each page begins without users, as on an empty store.
#[must_use]
pub fn page_mark(mark: &str, number: usize) -> String {
    format!("{mark}-{number}")
}

/// The reason to skip a step, if there is one.
#[must_use]
pub fn skipped(source: &Source, step: &DocStep) -> Option<String> {
    if !source.arguments.is_empty() {
        return Some(format!("wants a server with {}", source.arguments.join(" ")));
    }
    step.stage.wants().map(str::to_owned)
}

/// The thing that a request creates if it succeeds.
enum Creation {
    Account,
    General,
    Private,
}

impl Creation {
    fn at(target: &str) -> Option<Creation> {
        match target {
            "/api/messages" => Some(Creation::General),
            _ if target.ends_with("/register") => Some(Creation::Account),
            _ if target.starts_with("/api/users/") && target.ends_with("/messages") => {
                Some(Creation::Private)
            }
            _ => None,
        }
    }
}

impl Creations {
    /// Adds what a step creates. An example creates something if its response says so, and a step
    /// that prepares one always does.
    fn add(&mut self, page: &DocPage, step: &DocStep) -> Result<(), String> {
        if let Some(response) = &step.response
            && !compare::makes(page.shown(response))
        {
            return Ok(());
        }
        let script = step.script.replace("; do", "\ndo").replace("; done", "\ndone");
        let mut times = vec![1];
        for line in script.replace("\\\n", " ").lines().map(str::trim) {
            let line = line.strip_prefix("do ").unwrap_or(line);
            let mut words = line.split_whitespace();
            match words.next() {
                Some("for") => times.push(repetitions(line)?),
                Some("while" | "until" | "if" | "case" | "function") => {
                    return Err(format!("how often this runs is not written out: {line}"));
                }
                Some("done") => {
                    times.pop();
                }
                _ => {}
            }
            if !line.contains(" -d ") && !line.contains(" --data") {
                continue;
            }
            for behind in line.split(ORIGIN).skip(1) {
                let end = behind.find(|c: char| c.is_whitespace() || "'\"".contains(c));
                let made = Creation::at(&behind[..end.unwrap_or(behind.len())]);
                let count = match made {
                    Some(Creation::Account) => &mut self.accounts,
                    Some(Creation::General) => &mut self.general,
                    Some(Creation::Private) => &mut self.private,
                    None => continue,
                };
                *count += times.iter().product::<usize>();
            }
        }
        Ok(())
    }
}

/// The number of words of a loop: `for x in a b c`.
fn repetitions(line: &str) -> Result<usize, String> {
    let words = line.split_once(" in ").map(|(_, words)| words);
    let plain = words.filter(|words| !words.contains(['$', '`', '{', '*', '?', '[', '"', '\'']));
    let words = plain.ok_or_else(|| format!("how often this runs is not written out: {line}"))?;
    Ok(words.split_whitespace().count())
}

/// Translates a step's script for a deployment. The error names a block that might address users
/// other than its own.
pub fn translate(translation: &mut Translation, step: &DocStep) -> Result<String, String> {
    translation.script(&step.script).map_err(|why| format!("{}: {why}", step.title))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creations(source: &str) -> Result<Creations, String> {
        let page = DocPage::parse("p", source.replace("$O", ORIGIN)).unwrap();
        let mut creations = Creations::default();
        page.steps.iter().try_for_each(|step| creations.add(&page, step)).map(|()| creations)
    }

    #[test]
    fn what_is_made_is_counted() {
        let page = "# A\n```sh\ncurl $O/register -d '{}'\ncurl $O/login -d '{}'\n\
                    for x in a b c; do\n  curl $O/api/messages -d '{}'\n\
                    for y in d e; do curl $O/api/users/me/messages -d '{}'; done\ndone\n\
                    curl $O/api/messages\nA=$(curl $O/api/messages \\\n -d 1)\n```\n\
                    ## B\n```sh\ncurl $O/api/messages -d '{}'\n```\n```http\nHTTP/1.1 422 No\n```\n\
                    ## C\n```sh\ncurl $O/users/register -d '{}'\n```\n```http\nHTTP/1.1 201 Yes\n```\n";
        assert_eq!(creations(page), Ok(Creations { accounts: 2, general: 4, private: 6 }));
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        for script in ["for x in {1..9}; do", "for x in $(seq 9)", "while true; do", "for x; do"] {
            assert!(creations(&format!("```sh\n{script}\ndone\n```\n")).is_err(), "{script}");
        }
    }

    #[test]
    fn every_page_can_be_planned_and_translated() {
        for (source, page) in Plan::make().unwrap().pages {
            let address = Address::parse("http://chat.example").unwrap();
            let mark = page_mark(&format!("-{}", "f".repeat(MARK_DIGITS)), 99);
            let mut translation = Translation::new(address, mark);
            for step in page.steps.iter().filter(|step| skipped(source, step).is_none()) {
                let script = translate(&mut translation, step);
                assert!(script.is_ok(), "{}: {script:?}", source.path);
            }
        }
    }
}
