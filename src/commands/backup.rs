//! `veche backup`: fetches a backup from a running server.

use std::path::Path;

use veche::backup::PATIENCE;
use veche::docs::address::Address;
use veche::printable;
use veche::progress::Display;

use super::CommandResult;

pub(crate) fn backup(url: &str, file: &Path) -> CommandResult<()> {
    let address = Address::parse(url).map_err(|why| format!("{url:?} is not an address: {why}"))?;
    let progress = &mut Display::default();
    let summary = veche::backup::fetch(address.as_str(), file, PATIENCE, progress)?;
    printable::say(format_args!("backed up {summary}"));
    Ok(())
}
