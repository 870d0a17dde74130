//! `veche export`: writes a store as JSON lines.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use veche::cli::{StoreArgs, StoreKind};
use veche::model::StoreId;
use veche::printable;
use veche::progress::Display;
use veche::store::{self, Backend as _, ExportOrigin, LogStore, Purpose};
use veche::sys::{Clock as _, SystemClock};

use super::CommandResult;

pub(crate) fn export(args: &StoreArgs, file: &Path, as_backup: bool) -> CommandResult<()> {
    if args.store == StoreKind::Memory {
        return Err("a memory store exists only in its server: there is nothing to export".into());
    }
    if !LogStore::exists(&args.data_dir)? {
        return Err(format!("there is no store in {}", args.data_dir.display()).into());
    }
    let mut store = LogStore::open(&args.data_dir, StoreId(0), &mut Display::default())?;
    let mut out: Box<dyn Write> = if file == Path::new("-") {
        Box::new(BufWriter::new(printable::raw_output()?))
    } else {
        let created = File::options().write(true).create_new(true).mode(0o600).open(file);
        Box::new(BufWriter::new(created.map_err(|e| format!("{}: {e}", file.display()))?))
    };
    let purpose = if as_backup { Purpose::Backup } else { Purpose::Move };
    let origin = ExportOrigin { store_id: store.store_id(), purpose };
    let (cut, progress) = (SystemClock.now(), &mut Display::default());
    let summary = store::export_as(origin, &mut store, &mut out, cut, progress)?;
    printable::say(format_args!("exported {}: {summary}", purpose.name()));
    Ok(())
}
