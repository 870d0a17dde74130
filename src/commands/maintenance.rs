//! `veche check` and `veche compact`: work on the store of a server that is stopped.

use veche::cli::{StoreArgs, StoreKind};
use veche::printable;
use veche::progress::Display;
use veche::store::{self, Compaction};
use veche::sys::{Clock as _, SystemClock};

use super::CommandResult;

pub(crate) fn check(args: &StoreArgs) -> CommandResult<()> {
    if args.store == StoreKind::Memory {
        return Err("a memory store exists only in its server: there is nothing to check".into());
    }
    let check = store::check(&args.data_dir, &mut Display::default())?;
    printable::print(&check)?;
    if check.is_sound() { Ok(()) } else { Err("the store is damaged".into()) }
}

pub(crate) fn compact(args: &StoreArgs) -> CommandResult<()> {
    if args.store == StoreKind::Memory {
        return Err("a memory store exists only in its server: there is nothing to compact".into());
    }
    let Compaction { before, after } =
        store::compact(&args.data_dir, SystemClock.now(), &mut Display::default())?;
    printable::say(format_args!("compacted the log from {before} to {after} bytes"));
    Ok(())
}
