//! What a run leaves on disk, as these tests compare it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A JSON value with the few looks that tests take at one; what is not there is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub serde_json::Value);

impl Json {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    /// # Panics
    /// When the file is unreadable.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(&text).unwrap_or_else(|| panic!("{} is not JSON", path.display()))
    }

    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or_default()
    }
}

/// The finished models of a run, by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    pub digest: String,
    /// Digest of each file by name.
    pub files: BTreeMap<String, String>,
}

impl Final {
    /// # Panics
    /// When the run has not left its finished models.
    #[must_use]
    pub fn of(run: &Path) -> Self {
        let manifest = Json::read(&run.join("checkpoints/final/manifest.json"));
        let files = manifest.0["files"].as_object().expect("a manifest lists files");
        let digest = |entry: &serde_json::Value| entry["blake3"].as_str().unwrap_or_default().to_owned();
        let read = Self {
            digest: manifest.text("digest").to_owned(),
            files: files
                .iter()
                .map(|(name, entry)| (name.clone(), digest(entry)))
                .collect(),
        };
        assert_eq!(read.digest.len(), 64, "{read:?}");
        assert!(read.files.contains_key("source.safetensors"), "{read:?}");
        read
    }
}

/// The bytes of all tensors of a safetensors file, without its header.
///
/// # Panics
/// When the file is unreadable or is shorter than its header.
#[must_use]
pub fn tensor_bytes(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (length, rest) = bytes
        .split_first_chunk()
        .expect("a file begins with its header's length");
    rest[usize::try_from(u64::from_le_bytes(*length)).unwrap()..].to_vec()
}

/// The resume checkpoints of a run, oldest first.
///
/// # Panics
/// When there is no folder of checkpoints.
#[must_use]
pub fn checkpoints(run: &Path) -> Vec<PathBuf> {
    const STAGES: [&str; 4] = ["pretrain", "simulate", "adapt", "evaluate"];
    let entries = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let mut found: Vec<(usize, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name()?.to_str()?;
            let stage = STAGES.iter().position(|stage| name.starts_with(stage))?;
            Some((stage, path))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}
