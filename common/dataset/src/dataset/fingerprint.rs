//! A digest of what a dataset consists of, so that a run can tell whether its data changed under it.

use std::fmt;
use std::fs;
use std::path::Path;

use super::Dataset;
use crate::error::SampleError;

/// blake3 over the sample list: names below the root, in order, and file sizes in bytes. Prints as hex.
///
/// Does not depend on where the dataset is mounted. A change of contents that keeps every file's size goes unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl Dataset {
    /// Digest of the names and sizes of all samples' files.
    pub fn fingerprint(&self) -> Result<Fingerprint, SampleError> {
        let mut hasher = blake3::Hasher::new();
        for path in self
            .samples
            .iter()
            .flat_map(|sample| [&sample.image, &sample.label])
        {
            absorb(&mut hasher, self.root(), path)?;
        }
        Ok(Fingerprint(*hasher.finalize().as_bytes()))
    }
}

fn absorb(hasher: &mut blake3::Hasher, root: &Path, path: &Path) -> Result<(), SampleError> {
    let bytes = fs::metadata(path).map_err(|e| SampleError::io(path, e))?.len();
    let name = path
        .strip_prefix(root)
        .unwrap_or(path)
        .as_os_str()
        .as_encoded_bytes();
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name);
    hasher.update(&bytes.to_le_bytes());
    Ok(())
}
