//! Runs a page against a host, from top to bottom.

use veche::docs::session::DocSession;

pub(crate) use veche::docs::session::RecordedExchange;

use crate::host::Host;
use crate::page::DocPage;

/// Runs the page. Steps that `host` cannot stage are left out.
pub(crate) fn run(page: &DocPage, host: &dyn Host) -> Vec<RecordedExchange> {
    let mut session = DocSession::local(host.port()).unwrap();
    let mut exchanges = Vec::new();
    for step in &page.steps {
        let Some(_set) = host.stage(step.stage) else { continue };
        let done = session.run(step, &step.script);
        exchanges.extend(done.unwrap_or_else(|why| panic!("{why:?} of\n{}", step.script)).exchange);
    }
    exchanges
}
