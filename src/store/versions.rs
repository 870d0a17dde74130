//! The versions of the formats on disk.

use std::ops::RangeInclusive;

use super::index::layout;
use super::log::segment;
use super::transfer::{export_format, snapshot};

/// Each format that this build reads, with the versions of it. An index of another version is made
/// anew.
pub const FORMATS: &[(&str, RangeInclusive<u32>)] = &[
    ("log", segment::FORMAT_VERSION..=segment::FORMAT_VERSION),
    ("index", layout::FORMAT_VERSION..=layout::FORMAT_VERSION),
    ("backup", snapshot::FORMAT_VERSION..=snapshot::FORMAT_VERSION),
    ("export", export_format::OLDEST_FORMAT_VERSION..=export_format::FORMAT_VERSION),
];
