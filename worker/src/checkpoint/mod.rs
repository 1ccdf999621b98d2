//! Checkpoints on disk: a folder with a state file and a manifest that holds its digest.
//!
//! Written beside, fsynced and renamed, so that a folder under its final name is complete. Read only
//! after every digest was checked; a damaged one is passed over for the one before.

mod beside;
mod manifest;
mod store;
mod writer;

pub use manifest::{ClipOrigin, FileEntry, Manifest};
pub use store::{CheckpointError, CheckpointStore, Found, read_manifest};
pub use writer::{CheckpointWriter, Written};
