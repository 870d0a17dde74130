//! The cost of many sessions: a start reads them all, and they stay in memory.

use std::path::Path;

use crate::Result;
use crate::report::{Report, Spread, Target};
use crate::subject::{History, Kind, Store};

/// The limit for a user.
const EACH: u32 = 50;
const USERS: u32 = 2_000;

/// Starts a server over a store with many sessions and over the same without any, in turn.
pub(crate) fn measure(report: &mut Report, dir: &Path, times: usize) -> Result<()> {
    eprintln!("opening with sessions");
    let store = |name: &str, each| {
        let history = History::of_sessions(dir, USERS, each)?;
        Store::create(Kind::Sled, dir.join(name), &history)
    };
    let (with, without) = (store("sessions", EACH)?, store("no-sessions", 0)?);
    let count = f64::from(USERS * EACH);
    let (mut opened, mut extra, mut each) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..times {
        let (few, many) = (start(&without)?, start(&with)?);
        opened.push(many.0);
        extra.push(many.0 - few.0);
        each.push((many.1 - few.1) / count);
    }
    let measure = format!("sled: opening with {count} sessions");
    report.measure(&measure, Target::AtMost(1.0), " s", Spread::of(opened));
    let measure = format!("sled: what {count} sessions add to it");
    report.measure(&measure, Target::AtMost(1.0), " s", Spread::of(extra));
    let measure = format!("sled: resident for each of {count} sessions");
    report.measure(&measure, Target::AtMost(250.0), " bytes", Spread::of(each));
    Ok(())
}

/// The seconds that a start takes, and the resident bytes then.
fn start(store: &Store) -> Result<(f64, f64)> {
    let server = store.open()?;
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
    let found = (server.opened_in.as_secs_f64(), server.resident()? as f64);
    server.stop()?;
    Ok(found)
}
