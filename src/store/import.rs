//! Import: what it is given is an export or a backup.

use std::io::BufRead;

use super::log::segment::MAGIC;
use super::transfer::{Summary, TransferError};
use super::{Backend, Progress, backup, export};

/// Reads an export or a backup, whichever it is, into an empty store. `len` is the source's length
/// in bytes, where known. After an error the store holds a part and must be thrown away.
pub fn import(
    mut source: impl BufRead,
    len: Option<u64>,
    store: &mut dyn Backend,
    progress: &mut dyn Progress,
) -> Result<Summary, TransferError> {
    // A pipe may have given one byte only, which is enough: an export begins with a brace.
    if source.fill_buf()?.first() == MAGIC.first() {
        backup::restore(source, len, store, progress)
    } else {
        export::restore(source, len, store, progress)
    }
}
