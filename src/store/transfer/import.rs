//! Import of an export or a backup, which moves a store or restores one.

use std::io::BufRead;

use super::outcome::{ExportOrigin, Purpose, Summary, TransferError};
use super::{backup, export_reader};
use crate::model::StoreId;
use crate::store::backend::Backend;
use crate::store::error::{RestoreError, StoreError};
use crate::store::log::segment::MAGIC;
use crate::store::progress::Progress;
use crate::store::rules::lineage::{StoreIdChange, renew};

/// The outcome of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The contents of the file.
    pub summary: Summary,
    /// The origin of the file.
    pub origin: ExportOrigin,
    /// The store id that begins, if it was restored.
    pub renewal: Option<StoreIdChange>,
}

/// Reads an export or a backup into an empty store, for the purpose `taken_for`, or else for the
/// one that the file states. A restored store gets a new store id and higher ids, for which `draw`
/// returns random numbers. `len` is the length of the source in bytes, if it is known. After an
/// error the store holds a part of the file and must be thrown away.
pub fn restore(
    source: impl BufRead,
    len: Option<u64>,
    store: &mut dyn Backend,
    taken_for: Option<Purpose>,
    draw: &mut dyn FnMut() -> u64,
    progress: &mut dyn Progress,
) -> Result<Imported, TransferError> {
    let fresh = StoreId(draw());
    let is_restored = |origin: ExportOrigin| taken_for.unwrap_or(origin.purpose) == Purpose::Backup;
    let store_id_for =
        |origin: ExportOrigin| if is_restored(origin) { fresh } else { origin.store_id };
    let (summary, origin) = read(source, len, store, &store_id_for, progress)?;
    let mut renewal = None;
    if is_restored(origin) {
        renewal = Some(renew(store, origin.store_id, draw).map_err(refused)?);
        store.sync()?;
    }
    Ok(Imported { summary, origin, renewal })
}

/// Reads an export or a backup without changes, whatever its purpose: for inspection. A store that
/// is to be served from a backup is [restored](restore).
pub fn import(
    source: impl BufRead,
    len: Option<u64>,
    store: &mut dyn Backend,
    progress: &mut dyn Progress,
) -> Result<Summary, TransferError> {
    read(source, len, store, &|origin| origin.store_id, progress).map(|(summary, _)| summary)
}

/// Does the work of [`import`], in a store that gets the store id that `store_id_for` returns.
fn read(
    mut source: impl BufRead,
    len: Option<u64>,
    store: &mut dyn Backend,
    store_id_for: &dyn Fn(ExportOrigin) -> StoreId,
    progress: &mut dyn Progress,
) -> Result<(Summary, ExportOrigin), TransferError> {
    // A pipe may have given one byte only, which is enough: an export begins with a brace.
    if source.fill_buf()?.first() == MAGIC.first() {
        backup::restore(source, len, store, store_id_for, progress)
    } else {
        export_reader::restore(source, len, store, store_id_for, progress)
    }
}

/// The error for a file of which every part is valid.
fn refused(error: RestoreError) -> TransferError {
    TransferError::Store(match error {
        RestoreError::Store(error) => error,
        other => StoreError::Refused(format!("the file cannot be imported: {other}")),
    })
}
