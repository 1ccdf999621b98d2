//! Checkpoints on disk: a folder with the state in some files, and a manifest that holds their digests. What did not change
//! since the checkpoint before is shared with it, not written again.
//!
//! Written beside, fsynced and renamed, so that a folder under its final name is complete. Read only
//! after every digest was checked; a damaged one is passed over for the one before.
//!
//! Where a run has a storage by URL, the disk is a cache: whatever is written goes there too, in the background,
//! and what is newest is looked for in both.

mod beside;
mod checkpoints;
mod clock;
mod error;
mod manifest;
mod parts;
mod remote;
mod store;
mod uploads;
mod writer;

pub use checkpoints::{Checkpoints, Found};
pub use clock::CheckpointClock;
pub use error::CheckpointError;
pub use manifest::{CheckpointManifest, FileEntry};
pub use remote::RemoteStore;
pub use store::{CheckpointStore, Written, read_manifest};
pub use uploads::{Upload, UploadObserver, Uploaded, Uploads};
pub use writer::CheckpointWriter;
