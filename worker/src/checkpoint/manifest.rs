//! manifest.json: what a checkpoint folder holds and how to tell that it is whole.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ulda_run::clip::ClipOrigin;
use ulda_run::stage::Cursor;

use super::error::{CheckpointError, CheckpointMismatch};
use crate::state::{RunState, read_tensors};

pub(super) const STATE_FILE: &str = "state.safetensors";
pub(super) const MANIFEST_FILE: &str = "manifest.json";
/// Of each file that holds tensors.
pub(super) const EXTENSION: &str = ".safetensors";

/// Version of the folder's layout: of 2, sections of the state that seldom change have files of their own.
pub const FORMAT: u32 = 2;
/// The oldest one that is read: all of the state in `STATE_FILE`.
const OLDEST_FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointManifest {
    pub format: u32,
    pub run: String,
    pub cursor: Cursor,
    /// Digest of the run state the files were made from.
    pub digest: String,
    pub clip: ClipOrigin,
    pub files: BTreeMap<String, FileEntry>,
    /// The run's style bank, beside finished models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style_bank: Option<FileEntry>,
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
        if !(OLDEST_FORMAT..=FORMAT).contains(&manifest.format) {
            let what = format!(
                "its format is {}, this program reads {OLDEST_FORMAT} to {FORMAT}",
                manifest.format
            );
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
        let entry = self.entry(name, path)?;
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

    fn entry(&self, name: &str, path: &Path) -> Result<&FileEntry, CheckpointError> {
        let entry = self.files.get(name);
        entry.ok_or_else(|| damaged(path, "the manifest does not list it".to_owned()))
    }

    /// # Errors
    /// When it lists what is no file of a checkpoint's folder.
    pub(super) fn check_names(&self, folder: &Path) -> Result<(), CheckpointError> {
        let mut parts = self.files.keys().filter(|file| *file != STATE_FILE);
        match parts.find(|file| !is_part_name(file)) {
            Some(file) => {
                let what = format!("it lists `{file}`, which is no file of a checkpoint");
                Err(damaged(&folder.join(MANIFEST_FILE), what))
            }
            None => Ok(()),
        }
    }

    /// The run state in the files of the folder, which `read` reads and which are checked here; it gets a file's name and
    /// the bytes that it may have at most.
    ///
    /// # Errors
    /// When one cannot be read or is damaged, or they are not the state that the manifest was written for.
    pub fn state<B: AsRef<[u8]>>(
        &self,
        folder: &Path,
        read: impl Fn(&str, u64) -> Result<B, CheckpointError>,
    ) -> Result<RunState, CheckpointError> {
        self.check_names(folder)?;
        let checked = |file: &str| -> Result<B, CheckpointError> {
            let path = folder.join(file);
            let bytes = read(file, self.entry(file, &path)?.size_bytes)?;
            self.check_file(file, bytes.as_ref(), &path)?;
            Ok(bytes)
        };
        let unreadable = |file: &str| {
            let path = folder.join(file);
            move |source| CheckpointError::State { path, source }
        };
        let mut state =
            RunState::from_bytes(checked(STATE_FILE)?.as_ref()).map_err(unreadable(STATE_FILE))?;
        for file in self.files.keys().filter(|file| *file != STATE_FILE) {
            let tensors = read_tensors(checked(file)?.as_ref()).map_err(unreadable(file))?;
            if let Some(name) = tensors.keys().find(|name| !is_of_part(name, file)) {
                let what = format!("it holds `{name}`, which belongs into another file");
                return Err(damaged(&folder.join(file), what));
            }
            state.tensors.extend(tensors);
        }
        let digest = state.digest();
        if digest != self.digest {
            let what = format!(
                "its tensors have digest {digest}, the manifest says {}",
                self.digest
            );
            return Err(damaged(folder, what));
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

/// The part of the state that a tensor belongs to.
pub(super) fn section_of(tensor: &str) -> &str {
    tensor.split('.').next().unwrap_or(tensor)
}

/// Whether the file is the one that a tensor of this name lies in.
fn is_of_part(tensor: &str, file: &str) -> bool {
    file.strip_suffix(EXTENSION) == Some(section_of(tensor))
}

/// Whether a manifest may list a file of this name beside `STATE_FILE`: it leads nowhere else.
fn is_part_name(file: &str) -> bool {
    let section = file.strip_suffix(EXTENSION).unwrap_or_default();
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    !section.is_empty() && section.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_of_the_folder_are_none_of_a_part() {
        for name in ["source.safetensors", "rounds-00000000-00000016.safetensors"] {
            assert!(is_part_name(name), "{name}");
        }
        for name in [
            "../source.safetensors",
            "/etc/x.safetensors",
            ".safetensors",
            "a\\b.safetensors",
            "source.safetensors/..",
            "source.pt",
        ] {
            assert!(!is_part_name(name), "{name}");
        }
    }
}
