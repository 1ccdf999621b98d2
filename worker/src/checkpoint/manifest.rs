//! manifest.json: what a checkpoint folder holds and how to tell that it is whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ulda_core::stage::Cursor;

/// Version of the folder's layout.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub run: String,
    pub cursor: Cursor,
    /// Digest of the run state the files were made from.
    pub digest: String,
    pub clip: ClipOrigin,
    pub files: BTreeMap<String, FileEntry>,
    /// `ulda` version that wrote it.
    pub version: String,
}

/// The frozen weights a run stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipOrigin {
    pub digest: String,
    /// Seeded miniature weights that were never trained on images and texts.
    pub untrained: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub blake3: String,
    pub size_bytes: u64,
}
