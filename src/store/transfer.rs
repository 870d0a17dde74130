//! Exports, imports and backups: a store's contents in a file, and back.

pub(super) mod backup;
pub(super) mod export;
pub(super) mod export_format;
pub(super) mod export_reader;
pub(super) mod import;
pub(super) mod outcome;
pub(super) mod snapshot;
