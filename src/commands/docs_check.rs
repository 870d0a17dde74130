//! `veche docs-check`: runs the documentation's examples against a deployment.

use std::process::ExitCode;

use veche::docs::address::Address;
use veche::docs::check::{self, DocsCheck, Report as _};
use veche::docs::plan::Plan;
use veche::printable;
use veche::progress::Lines;
use veche::sys::SystemEntropy;

use super::CommandResult;

/// The exit code is 0 if nothing differs, 1 if something differs or nobody answers, and 2 without
/// `--yes` or for a wrong address.
pub(crate) fn docs_check(url: &str, yes: bool) -> ExitCode {
    let done = Address::parse(url).map_err(|why| (2, format!("{url:?} is not an address: {why}")));
    match done.and_then(|address| check_docs(address, yes).map_err(|e| (1, e.to_string()))) {
        Ok(code) => code,
        Err((code, why)) => {
            printable::say(format_args!("veche: {why}"));
            ExitCode::from(code)
        }
    }
}

fn check_docs(address: Address, yes: bool) -> CommandResult<ExitCode> {
    let plan = Plan::make()?;
    let mark = check::mark(&mut SystemEntropy::probe()?);
    let mut lines = Lines::new("checking", plan.cases());
    lines.line(&plan.announcement(&address, &mark))?;
    if !yes {
        lines.line("Nothing has been written. With --yes it goes on.")?;
        return Ok(ExitCode::from(2));
    }
    let summary = DocsCheck::new(address, mark, &mut lines).run(&plan)?;
    Ok(if summary.differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
