//! `veche import`: reads an export or a backup into an empty store.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use veche::cli::{StoreArgs, StoreKind};
use veche::model::StoreId;
use veche::printable;
use veche::progress::Display;
use veche::store::{self, Backend, Imported, LogStore, MemoryStore, Purpose, TransferError};
use veche::sys::{SystemEntropy, random};

use super::CommandResult;

pub(crate) fn import(args: &StoreArgs, file: &Path, restore: bool) -> CommandResult<()> {
    let mut entropy = SystemEntropy::probe()?;
    let epoch = StoreId(u64::from_le_bytes(random(&mut entropy)));
    let taken_for = restore.then_some(Purpose::Backup);
    match args.store {
        StoreKind::Memory => {
            let store = &mut MemoryStore::new(epoch);
            let imported = read_file(file, store, taken_for, &mut entropy)?;
            let what = purpose(&imported).name();
            printable::say(format_args!("verified {what}: {}", imported.summary));
        }
        StoreKind::Sled => {
            let imported = build(&args.data_dir, epoch, file, taken_for, &mut entropy)?;
            printable::say_lines(report(&imported));
        }
    }
    Ok(())
}

/// The purpose for which a file was imported.
fn purpose(imported: &Imported) -> Purpose {
    if imported.renewal.is_some() { Purpose::Backup } else { Purpose::Move }
}

/// The report on an import. The digest is last.
pub(crate) fn report(imported: &Imported) -> String {
    let Imported { summary, origin, renewal } = imported;
    let what = purpose(imported).name();
    match renewal {
        Some(renewal) => format!("{renewal}\nrestored {what}: {summary}"),
        None => {
            format!("continues epoch {} and its ids\nimported {what}: {summary}", origin.store_id)
        }
    }
}

pub(crate) fn build(
    data_dir: &Path,
    epoch: StoreId,
    file: &Path,
    taken_for: Option<Purpose>,
    entropy: &mut SystemEntropy,
) -> CommandResult<Imported> {
    LogStore::build(data_dir, epoch, |store| read_file(file, store, taken_for, entropy))
}

/// Imports an export, a backup, or the copy of a data directory.
pub(crate) fn read_file(
    file: &Path,
    store: &mut dyn Backend,
    taken_for: Option<Purpose>,
    entropy: &mut SystemEntropy,
) -> CommandResult<Imported> {
    let named = |e: &dyn Error| format!("{}: {e}", file.display());
    let (source, len): (Box<dyn BufRead>, _) = if file == Path::new("-") {
        (Box::new(io::stdin().lock()), None)
    } else if file.is_dir() {
        let (copy, len) = snapshot(file)?;
        (Box::new(BufReader::new(copy)), Some(len))
    } else {
        let file = File::open(file).map_err(|e| named(&e))?;
        let len = file.metadata().map_err(|e| named(&e))?.len();
        (Box::new(BufReader::new(file)), Some(len))
    };
    let progress = &mut Display::default();
    let draw = &mut || u64::from_le_bytes(random(entropy));
    let imported = store::restore(source, len, store, taken_for, draw, progress);
    imported.map_err(|error| match error {
        TransferError::Store(error) => error.into(),
        of_the_file => named(&of_the_file).into(),
    })
}

/// The backup of the store in `dir`. It is opened as at a start: what a crash left half-written is
/// repaired.
fn snapshot(dir: &Path) -> CommandResult<(impl Read + 'static, u64)> {
    let nothing = || format!("there is no store in {}", dir.display());
    if !LogStore::exists(dir)? {
        return Err(nothing().into());
    }
    let store = LogStore::open(dir, StoreId(0), &mut Display::default())?;
    let snapshot = store.snapshot()?.ok_or_else(nothing)?;
    let len = snapshot.length();
    Ok((snapshot, len))
}
