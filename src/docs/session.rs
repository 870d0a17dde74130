//! One run of a page, from top to bottom.

use crate::host::Host;
use crate::page::{Page, Step};
use crate::shell::{Run, Shell};

/// What came of an example.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Of the snapshot.
    pub(crate) name: String,
    /// As it is printed in the page.
    pub(crate) command: String,
    /// What curl really sent.
    pub(crate) method: String,
    /// The same, without the query.
    pub(crate) path: String,
    /// Status line, fields, an empty line and the body, if there is one.
    pub(crate) response: String,
}

impl Exchange {
    /// From the status line.
    pub(crate) fn status(&self) -> u16 {
        self.response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap()
    }
}

/// Runs the page. What `host` cannot stage is left out.
pub(crate) fn run(page: &Page, host: &dyn Host) -> Vec<Exchange> {
    let mut shell = Shell::start(host.port());
    let staged = page.steps.iter().filter_map(|step| {
        let _set = host.stage(step.stage)?;
        exchange(step, &shell.run(&step.script))
    });
    staged.collect()
}

fn exchange(step: &Step, run: &Run) -> Option<Exchange> {
    let Step { script, response: Some(response), .. } = step else {
        let prepared = run.statuses.iter().all(|status| *status < 400);
        assert!(prepared, "{:?} of\n{}{}", run.statuses, step.script, run.output);
        return None;
    };
    let [(method, target)] = run.requests.as_slice() else {
        panic!("an example is one request, and not {:?}:\n{script}", run.requests);
    };
    Some(Exchange {
        name: response.name.clone(),
        command: script.trim_end().to_owned(),
        method: method.clone(),
        path: target.split('?').next().unwrap_or_default().to_owned(),
        response: as_text(&run.output),
    })
}

/// A response as a page shows it: the lines of its head end in LF only, and if it has no content,
/// neither does the page have an empty line.
fn as_text(output: &str) -> String {
    let (head, body) = output.split_once("\r\n\r\n").expect("curl was told to show the head");
    assert!(!head.starts_with("HTTP/1.1 1"), "an interim response hides the real one");
    let head = head.replace("\r\n", "\n");
    if body.is_empty() { head } else { format!("{head}\n\n{body}") }
}
