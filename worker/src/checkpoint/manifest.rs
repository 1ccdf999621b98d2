//! manifest.json: what a checkpoint folder holds and how to tell that it is whole.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ulda_run::clip::ClipOrigin;
use ulda_run::stage::Cursor;

use super::error::{CheckpointError, CheckpointMismatch};
use crate::state::RunState;

pub(super) const STATE_FILE: &str = "state.safetensors";
pub(super) const MANIFEST_FILE: &str = "manifest.json";

/// Version of the folder's layout.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointManifest {
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub blake3: String,
    pub size_bytes: u64,
}

impl FileEntry {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            blake3: blake3::hash(bytes).to_hex().to_string(),
            size_bytes: bytes.len() as u64,
        }
    }
}

/// Checks of what was read, wherever it lay; `path` is what errors call it.
impl CheckpointManifest {
    /// # Errors
    /// When the bytes are no manifest of a known format.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, CheckpointError> {
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| damaged(path, error.to_string()))?;
        if manifest.format != FORMAT {
            let what = format!("its format is {}, this program reads {FORMAT}", manifest.format);
            return Err(damaged(path, what));
        }
        Ok(manifest)
    }

    /// # Errors
    /// When it belongs to another run, or to other CLIP weights.
    pub fn check_owner(&self, run: &str, clip: &ClipOrigin, path: &Path) -> Result<(), CheckpointError> {
        let other = |difference| CheckpointError::OtherRun {
            path: path.to_owned(),
            difference,
        };
        if self.run != run {
            return Err(other(CheckpointMismatch::Name {
                found: self.run.clone(),
                expected: run.to_owned(),
            }));
        }
        if self.clip != *clip {
            return Err(other(CheckpointMismatch::Clip {
                found: self.clip.digest.clone(),
                expected: clip.digest.clone(),
            }));
        }
        Ok(())
    }

    /// # Errors
    /// When the bytes are not those that the manifest lists as `name`.
    pub fn check_file(&self, name: &str, bytes: &[u8], path: &Path) -> Result<(), CheckpointError> {
        let entry = self.files.get(name);
        let entry = entry.ok_or_else(|| damaged(path, "the manifest does not list it".to_owned()))?;
        if bytes.len() as u64 != entry.size_bytes {
            let what = format!(
                "it has {} bytes, the manifest says {}",
                bytes.len(),
                entry.size_bytes
            );
            return Err(damaged(path, what));
        }
        if FileEntry::of(bytes) != *entry {
            return Err(damaged(
                path,
                "its bytes do not have the manifest's digest".to_owned(),
            ));
        }
        Ok(())
    }

    /// The run state in a checked state file.
    ///
    /// # Errors
    /// When it is none, or not the one that the manifest was written for.
    pub fn state(&self, bytes: &[u8], path: &Path) -> Result<RunState, CheckpointError> {
        self.check_file(STATE_FILE, bytes, path)?;
        let state = RunState::from_bytes(bytes).map_err(|source| CheckpointError::State {
            path: path.to_owned(),
            source,
        })?;
        let digest = state.digest();
        if digest != self.digest {
            let what = format!(
                "its tensors have digest {digest}, the manifest says {}",
                self.digest
            );
            return Err(damaged(path, what));
        }
        Ok(state)
    }
}

fn damaged(path: &Path, what: String) -> CheckpointError {
    CheckpointError::Damaged {
        path: path.to_owned(),
        what,
    }
}
