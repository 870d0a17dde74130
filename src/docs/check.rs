//! Runs the pages against a deployment, compares the responses, and reports the differences of each
//! case.

use std::fmt::Write as _;
use std::{fmt, io};

use super::Source;
use super::address::Address;
use super::compare::{self, Catalogue, ExampleVerdict};
use super::page::{DocPage, DocStep, PinnedResponse};
use super::plan::{self, MARK_DIGITS, Plan};
use super::session::{DocSession, Done};
use super::shell::{CurlRequest, ShellFailure};
use super::translate::Translation;
use crate::sys::{Entropy, random};

/// Most cases in a row without any answer. With more, the deployment is unreachable.
const MAX_UNANSWERED: usize = 3;

/// A receiver of a run's results.
pub trait Report {
    /// Receives a line of the result. An error ends the run.
    fn line(&mut self, line: &str) -> io::Result<()>;

    /// Receives the number of cases that are done.
    fn advance(&mut self, done: usize);
}

/// The number of cases by result.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct DocsCheckSummary {
    /// Cases with the documented response.
    pub same: usize,
    /// Cases with another response, and cases that an earlier failure prevented.
    pub differing: usize,
    /// Cases that need another server.
    pub skipped: usize,
}

impl fmt::Display for DocsCheckSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DocsCheckSummary { same, differing, skipped } = self;
        let verb = if *differing == 1 { "differs" } else { "differ" };
        write!(f, "{same} same, {differing} {verb}, {skipped} skipped")
    }
}

/// A reason to end a run early.
#[derive(Debug)]
pub enum CheckError {
    /// The deployment does not answer, or this machine cannot send requests.
    Unreachable(ShellFailure),
    /// A page cannot be run.
    Page(String),
    /// The result could not be written.
    Output(io::Error),
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckError::Unreachable(ShellFailure::Machine(why)) | CheckError::Page(why) => {
                f.write_str(why)
            }
            CheckError::Unreachable(failure) => write!(f, "it cannot be reached: {failure}"),
            CheckError::Output(error) => write!(f, "the result cannot be written: {error}"),
        }
    }
}

impl std::error::Error for CheckError {}

/// The mark of a run, which all its names have between the name in the page and the number of the
/// page.
pub fn mark(entropy: &mut dyn Entropy) -> String {
    let digits = u32::from_le_bytes(random(entropy));
    format!("-{digits:0MARK_DIGITS$x}")
}

/// A run over all pages.
pub struct DocsCheck<'a> {
    address: Address,
    mark: String,
    summary: DocsCheckSummary,
    /// `true` once the deployment has answered.
    answered: bool,
    /// The failures of the last cases in a row without an answer.
    unanswered: Vec<ShellFailure>,
    report: &'a mut dyn Report,
}

/// A failure that prevents the rest of a page.
struct Broken {
    why: String,
    /// `true` if the step that failed was counted.
    counted: bool,
}

impl<'a> DocsCheck<'a> {
    /// A run with a [`mark`] of its own.
    pub fn new(address: Address, mark: String, report: &'a mut dyn Report) -> DocsCheck<'a> {
        let summary = DocsCheckSummary::default();
        DocsCheck { address, mark, summary, answered: false, unanswered: Vec::new(), report }
    }

    /// Runs every page, and reports the result of every case.
    pub fn run(mut self, plan: &Plan) -> Result<DocsCheckSummary, CheckError> {
        let ended = self.run_pages(plan);
        let compared = self.summary.same + self.summary.differing > 0;
        if ended.is_ok() || compared && matches!(ended, Err(CheckError::Unreachable(_))) {
            self.line(&self.summary.to_string())?;
        }
        ended.map(|()| self.summary)
    }

    fn run_pages(&mut self, plan: &Plan) -> Result<(), CheckError> {
        for (number, (source, page)) in (1..).zip(&plan.pages) {
            let mark = plan::page_mark(&self.mark, number);
            let translation = Translation::new(self.address.clone(), mark);
            let mut steps = page.steps.iter();
            if let Err(broken) = self.run_page(source, page, translation, &mut steps)? {
                self.give_up(source, steps, &broken)?;
            }
            self.still_there()?;
        }
        Ok(())
    }

    /// Runs a page up to a step that the rest needs. The inner error is that step's failure.
    fn run_page<'p>(
        &mut self,
        source: &Source,
        page: &'p DocPage,
        mut translation: Translation,
        steps: &mut impl Iterator<Item = &'p DocStep>,
    ) -> Result<Result<(), Broken>, CheckError> {
        let broken = |why| Ok(Err(Broken { why, counted: false }));
        let catalogue = Catalogue::of(page.json());
        let mut session = None;
        for step in steps {
            if let Some(why) = plan::skipped(source, step) {
                self.skip(source, step, &why)?;
                continue;
            }
            let session = match &mut session {
                Some(session) => session,
                none => none.insert(DocSession::direct().map_err(CheckError::Unreachable)?),
            };
            let script = plan::translate(&mut translation, step)
                .map_err(|why| CheckError::Page(format!("{}: {why}", source.path)))?;
            let done = session.check_links(step).and_then(|()| session.run(step, &script));
            self.listen(&done, session.was_answered())?;
            match (&step.response, done) {
                (None, Err(failure)) => return broken(failure.to_string()),
                (None, Ok(Done { requests, .. })) => {
                    for request in requests {
                        if let Err(why) = translation.learn(&request, None) {
                            let CurlRequest { method, target, .. } = request;
                            return broken(format!("{method} {target}: {why}"));
                        }
                    }
                }
                (Some(response), done) => {
                    let lost = done.as_ref().err().filter(|failure| failure.is_of_shell());
                    let lost =
                        lost.map(|failure| Broken { why: failure.to_string(), counted: true });
                    let verdict = case(page, response, done, &mut translation, &catalogue);
                    self.judge(source, step, &verdict)?;
                    self.still_there()?;
                    if let Some(broken) = lost {
                        return Ok(Err(broken));
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    /// Records if a step was answered. The run ends if there was no answer yet.
    fn listen(
        &mut self,
        done: &Result<Done, ShellFailure>,
        answered: bool,
    ) -> Result<(), CheckError> {
        self.answered |= answered;
        match done {
            Err(failure) if failure.is_unreachable() && !answered => {
                self.unanswered.push(failure.clone());
                if self.answered { Ok(()) } else { Err(CheckError::Unreachable(failure.clone())) }
            }
            _ => {
                self.unanswered.clear();
                Ok(())
            }
        }
    }

    /// Fails if too many cases in a row had no answer.
    fn still_there(&self) -> Result<(), CheckError> {
        match self.unanswered.get(MAX_UNANSWERED - 1) {
            Some(failure) => Err(CheckError::Unreachable(failure.clone())),
            None => Ok(()),
        }
    }

    fn skip(&mut self, source: &Source, step: &DocStep, why: &str) -> Result<(), CheckError> {
        if step.response.is_none() {
            return Ok(());
        }
        self.summary.skipped += 1;
        self.line(&format!("skipped  {} ({why})", name(source, step)))
    }

    fn judge(
        &mut self,
        source: &Source,
        step: &DocStep,
        verdict: &ExampleVerdict,
    ) -> Result<(), CheckError> {
        let name = name(source, step);
        if verdict.differences.is_empty() {
            self.summary.same += 1;
            return match verdict.others {
                0 => self.line(&format!("same     {name}")),
                others => self.line(&format!("same     {name} (beside {others} of others)")),
            };
        }
        self.summary.differing += 1;
        let mut lines = format!("DIFFERS  {name}");
        for difference in &verdict.differences {
            let compare::Difference { what, expected, actual } = difference;
            let _ =
                write!(lines, "\n    {what}\n      expected  {expected}\n      actual    {actual}");
        }
        self.line(&lines)
    }

    /// Reports the rest of a page as one difference.
    fn give_up<'p>(
        &mut self,
        source: &Source,
        steps: impl Iterator<Item = &'p DocStep>,
        broken: &Broken,
    ) -> Result<(), CheckError> {
        let mut left = Vec::new();
        for step in steps.filter(|step| step.response.is_some()) {
            match plan::skipped(source, step) {
                Some(why) => self.skip(source, step, &why)?,
                None => left.push(step.title.as_str()),
            }
        }
        if left.is_empty() && broken.counted {
            return Ok(());
        }
        // Steps that only prepare are no cases, but their failure is a difference.
        self.summary.differing += left.len().max(1);
        if left.is_empty() {
            left.push("the end of the page");
        }
        self.line(&format!(
            "DIFFERS  {}: {}\n    not run, because a step before failed: {}",
            page_name(source),
            left.join("; "),
            compare::excerpt(&broken.why, 0),
        ))
    }

    fn line(&mut self, line: &str) -> Result<(), CheckError> {
        let DocsCheckSummary { same, differing, skipped } = self.summary;
        self.report.line(line).map_err(CheckError::Output)?;
        self.report.advance(same + differing + skipped);
        Ok(())
    }
}

fn page_name(source: &Source) -> String {
    source.name.replace('_', "-")
}

fn name(source: &Source, step: &DocStep) -> String {
    format!("{}: {}", page_name(source), step.title)
}

/// The verdict on an example that was run.
fn case(
    page: &DocPage,
    response: &PinnedResponse,
    done: Result<Done, ShellFailure>,
    translation: &mut Translation,
    catalogue: &Catalogue,
) -> ExampleVerdict {
    let documented = page.shown(response);
    let expected = documented.lines().next().unwrap_or_default();
    let (requests, exchange) = match done {
        Ok(Done { requests, exchange: Some(exchange) }) => (requests, exchange),
        Ok(Done { exchange: None, .. }) => return ExampleVerdict::failed(expected, "nothing"),
        Err(failure) => {
            // A fresh store would have assigned the id all the same.
            let lost = CurlRequest {
                method: String::new(),
                target: String::new(),
                status: None,
                location: None,
            };
            if let Some(made) = compare::made(documented) {
                let _ = translation.learn(&lost, made);
            }
            return ExampleVerdict::failed(expected, &failure.to_string());
        }
    };
    let Some(request) = requests.first() else {
        return ExampleVerdict::failed(expected, "nothing");
    };
    if let Some(made) = compare::made(documented)
        && let Err(why) = translation.learn(request, made)
    {
        return ExampleVerdict::failed(expected, &why);
    }
    let target = translation.relative(&request.target).to_owned();
    compare::compare(documented, &exchange, &target, translation, catalogue)
}
