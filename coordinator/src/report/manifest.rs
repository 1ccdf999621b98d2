//! `checkpoints/final/manifest.json`, as far as a reader of a run needs it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use ulda_files::MOST_TEXT_BYTES;
use ulda_run::clip::ClipOrigin;
use ulda_run::hints;

use crate::journal::clip_of;
use crate::run_directory::RunDirectory;

/// The manifest of a run's final models cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FinalManifestError {
    #[error("read `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("manifest `{}` is damaged", path.display())]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
}

hints!(pub FinalManifestError {
    Self::Damaged { .. } => "remove it to have a report without digests",
});

#[derive(Debug, Default, Deserialize)]
pub(crate) struct FinalManifest {
    #[serde(default)]
    pub(super) digest: String,
    #[serde(default)]
    pub(super) clip: ClipOrigin,
    #[serde(default)]
    pub(super) files: BTreeMap<String, FileManifest>,
    #[serde(default)]
    style_bank: Option<FileManifest>,
    #[serde(default)]
    pub(super) versions: BTreeMap<String, String>,
    /// Of the worker that wrote it.
    #[serde(default)]
    pub(super) version: Option<String>,
}

/// A file's digest, alone or beside other facts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum FileManifest {
    Digest(String),
    Facts { blake3: String },
}

impl FileManifest {
    pub(super) fn digest(&self) -> &str {
        match self {
            Self::Digest(digest) | Self::Facts { blake3: digest } => digest,
        }
    }
}

impl FinalManifest {
    /// The digest of a file beside it.
    pub(crate) fn of_file(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(FileManifest::digest)
    }

    /// The digest of the run's style bank; manifests of earlier versions have none.
    pub(crate) fn of_style_bank(&self) -> Option<&str> {
        self.style_bank.as_ref().map(FileManifest::digest)
    }

    /// What the manifest says; nothing for a run that has none yet.
    pub(crate) fn read(directory: &RunDirectory) -> Result<Self, FinalManifestError> {
        let path = directory.final_checkpoints().join("manifest.json");
        match ulda_files::read_file(&path, MOST_TEXT_BYTES) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| FinalManifestError::Damaged { path, source })
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(FinalManifestError::Read { path, source }),
        }
    }
}

/// The CLIP weights a run stands on: what its workers said, or in runs of earlier versions its final models' manifest.
///
/// # Errors
/// The manifest is asked and cannot be read.
pub fn clip_origin(
    directory: &RunDirectory,
    facts: &BTreeMap<String, String>,
) -> Result<ClipOrigin, FinalManifestError> {
    match clip_of(facts) {
        Some(clip) => Ok(clip),
        None => Ok(FinalManifest::read(directory)?.clip),
    }
}
