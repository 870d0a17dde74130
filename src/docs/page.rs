//! A page of documentation: its commands, and the responses that it shows.
//!
//! * ```` ```sh ```` is run. With ` no_run` behind it, it is not; with ` staged=…`, only on a
//!   server that was brought into that state (see [`Stage`]).
//! * ```` ```http ```` is the response to the block before it. There is one under a heading, which
//!   gives the snapshot its name.
//! * ```` ```json ```` parses as JSON.
//!
//! Any other kind of fence is refused, so that none is left unchecked because of a typing error.

use std::collections::HashSet;
use std::ops::Range;

/// The state of the server in which an example runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Any state: a reader sees the same.
    Plain,
    /// A store with nothing but what the page did, so that its events have these numbers.
    FreshStore,
    /// A token that has expired.
    HourLater,
    /// A store that fails to post.
    FailingStore,
    /// A disk that is nearly full.
    FullDisk,
    /// A full queue of bodies to be read.
    FullQueue,
    /// The most waiting requests of the first user.
    ManyWaiting,
    /// A user who has blocked the most users.
    ManyBlocked,
}

impl Stage {
    /// The state of this name in a page.
    fn named(name: &str) -> Option<Stage> {
        match name {
            "fresh-store" => Some(Stage::FreshStore),
            "hour-later" => Some(Stage::HourLater),
            "failing-store" => Some(Stage::FailingStore),
            "full-disk" => Some(Stage::FullDisk),
            "full-queue" => Some(Stage::FullQueue),
            "many-waiting" => Some(Stage::ManyWaiting),
            "many-blocked" => Some(Stage::ManyBlocked),
            _ => None,
        }
    }

    /// The server that it needs, if a reader cannot see the same.
    #[must_use]
    pub fn wants(self) -> Option<&'static str> {
        match self {
            Stage::Plain => None,
            Stage::FreshStore => Some("wants a store to which nobody else writes"),
            Stage::HourLater => Some("wants a token whose life is over"),
            Stage::FailingStore => Some("wants a server whose disk fails"),
            Stage::FullDisk => Some("wants a server whose disk is full"),
            Stage::FullQueue => Some("wants a server that is overloaded"),
            Stage::ManyWaiting => Some("wants a user who has many requests waiting"),
            Stage::ManyBlocked => Some("wants a user who has blocked a thousand others"),
        }
    }
}

/// A page and its parts.
#[derive(Debug)]
pub struct DocPage {
    source: String,
    /// The commands, from top to bottom.
    pub steps: Vec<DocStep>,
    json: Vec<Range<usize>>,
}

/// A block of commands.
#[derive(Debug)]
pub struct DocStep {
    /// Exactly as in the page.
    pub script: String,
    /// The state of the server.
    pub stage: Stage,
    /// The response; `None` for commands that only prepare the shell.
    pub response: Option<PinnedResponse>,
    /// The heading, as in the page.
    pub title: String,
    heading: String,
}

/// A response in a page.
#[derive(Debug)]
pub struct PinnedResponse {
    /// The name of its snapshot: `page__heading`.
    pub name: String,
    /// The content of the block, in bytes of the source.
    span: Range<usize>,
}

impl DocPage {
    /// Parses a page. `name` is the prefix of its snapshots' names. The error has the line and the
    /// reason.
    pub fn parse(name: &str, source: String) -> Result<DocPage, String> {
        let mut page = DocPage { source: String::new(), steps: Vec::new(), json: Vec::new() };
        let mut headings = HashSet::new();
        let mut heading = "";
        let mut fence: Option<(&str, usize)> = None;
        let mut offset = 0;
        for (number, line) in (1..).zip(source.split_inclusive('\n')) {
            let start = offset;
            offset += line.len();
            let done = match (fence, line.trim_end().strip_prefix("```")) {
                (None, Some(info)) => {
                    fence = Some((info, offset));
                    Ok(())
                }
                (None, None) if line.starts_with('#') => {
                    heading = line;
                    let new = headings.insert(anchor(line));
                    if new { Ok(()) } else { Err("the same heading again".to_owned()) }
                }
                (Some((info, content)), Some("")) => {
                    fence = None;
                    page.block(info, &source, content..start, name, heading)
                }
                (Some(_), Some(_)) => Err("a fence within a fence".to_owned()),
                (None | Some(_), None) => Ok(()),
            };
            done.map_err(|why| format!("line {number}: {why}"))?;
        }
        if fence.is_some() {
            return Err("the last fence does not end".to_owned());
        }
        Ok(DocPage { source, ..page })
    }

    fn block(
        &mut self,
        info: &str,
        source: &str,
        span: Range<usize>,
        page: &str,
        heading: &str,
    ) -> Result<(), String> {
        let stage = match info {
            "sh" => Stage::Plain,
            "sh no_run" => return Ok(()),
            "json" => {
                self.json.push(span);
                return Ok(());
            }
            "http" => return self.response(span, page, heading),
            other => other
                .strip_prefix("sh staged=")
                .and_then(Stage::named)
                .ok_or_else(|| format!("a fence of the unknown kind '{other}'"))?,
        };
        let script = source[span].to_owned();
        let title = heading.trim_start_matches('#').trim().replace('`', "");
        let heading = anchor(heading);
        self.steps.push(DocStep { script, stage, response: None, title, heading });
        Ok(())
    }

    fn response(&mut self, span: Range<usize>, page: &str, heading: &str) -> Result<(), String> {
        let heading = anchor(heading);
        let name = format!("{page}__{heading}");
        if self.responses().any(|earlier| earlier.name == name) {
            return Err("a second response under one heading".to_owned());
        }
        let step = self.steps.last_mut().filter(|step| step.heading == heading);
        step.ok_or("a response without a command")?.response = Some(PinnedResponse { name, span });
        Ok(())
    }

    /// The text of the page.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All responses in the page.
    pub fn responses(&self) -> impl Iterator<Item = &PinnedResponse> {
        self.steps.iter().filter_map(|step| step.response.as_ref())
    }

    /// The text of a response.
    #[must_use]
    pub fn shown(&self, response: &PinnedResponse) -> &str {
        self.source[response.span.clone()].trim_end()
    }

    /// All JSON in the page.
    pub fn json(&self) -> impl Iterator<Item = &str> {
        let with_body = self.responses().filter_map(|it| self.shown(it).split_once("\n\n"));
        let is_json = |(head, _): &(&str, &str)| {
            let content_type = head.lines().find_map(|line| line.strip_prefix("Content-Type: "));
            content_type.is_none_or(|content_type| content_type.ends_with("json"))
        };
        let bodies = with_body.filter(is_json).map(|(_, body)| body);
        self.json.iter().map(|span| &self.source[span.clone()]).chain(bodies)
    }

    /// The page with each response as `accepted` has it by name.
    pub fn rewritten(&self, accepted: impl Fn(&str) -> String) -> String {
        let mut source = String::with_capacity(self.source.len());
        let mut copied = 0;
        for PinnedResponse { name, span } in self.responses() {
            source.push_str(&self.source[copied..span.start]);
            source.push_str(&accepted(name));
            source.push('\n');
            copied = span.end;
        }
        source.push_str(&self.source[copied..]);
        source
    }
}

/// The anchor of a heading, as GitHub makes it.
#[must_use]
pub fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_taken_apart() {
        let source = "# A\n```sh\nx=1\n```\n## `GET /b`\n```sh staged=hour-later\ncurl\n```\n\n\
                      ```http\nHTTP/1.1 200 OK\n\n[]\n```\n```sh no_run\nrm\n```\n```json\n{}\n```\n";
        let page = DocPage::parse("p", source.to_owned()).unwrap();
        let [first, second] = page.steps.as_slice() else { panic!("{page:?}") };
        assert_eq!((first.script.as_str(), first.stage), ("x=1\n", Stage::Plain));
        assert!(first.response.is_none());
        assert_eq!((second.script.as_str(), second.stage), ("curl\n", Stage::HourLater));
        let response = second.response.as_ref().unwrap();
        assert_eq!(response.name, "p__get-b");
        assert_eq!(page.shown(response), "HTTP/1.1 200 OK\n\n[]");
        assert_eq!(second.title, "GET /b");
        assert_eq!(page.rewritten(str::to_owned).matches("p__get-b\n```").count(), 1);
        assert_eq!(page.json().collect::<Vec<_>>(), ["{}\n", "[]"]);
    }

    #[test]
    fn what_would_go_unchecked_is_refused() {
        for (source, why) in [
            ("```sh", "the last fence does not end"),
            ("```\n```\n", "line 2: a fence of the unknown kind ''"),
            (
                "```sh staged=on-fire\n```\n",
                "line 2: a fence of the unknown kind 'sh staged=on-fire'",
            ),
            ("```sh\n```http\n", "line 2: a fence within a fence"),
            ("# A\n# A\n", "line 2: the same heading again"),
            ("```http\n```\n", "line 2: a response without a command"),
            ("```sh\n```\n# A\n```http\n```\n", "line 5: a response without a command"),
            (
                "```sh\n```\n```http\n```\n```sh\n```\n```http\n```\n",
                "line 8: a second response under one heading",
            ),
        ] {
            assert_eq!(
                DocPage::parse("p", source.to_owned()).map(|_| ()),
                Err(why.to_owned()),
                "{source}"
            );
        }
    }
}
