//! The file of a checkpoint, opened so that nothing but a regular file of bounded size is read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ulda_files::FileRefusal;

use crate::weights::WeightsError;

/// More bytes than any checkpoint of the method has, and than its tensors may take in memory.
pub const MOST_BYTES: u64 = 8 << 30;

/// An open checkpoint.
pub struct CheckpointFile<'a> {
    pub path: &'a Path,
    pub file: File,
    pub length: u64,
}

impl<'a> CheckpointFile<'a> {
    /// Opens a regular file, without waiting.
    pub fn open(path: &'a Path) -> Result<Self, WeightsError> {
        let failed = |source| WeightsError::Read {
            path: path.to_owned(),
            source,
        };
        let not_a_file = |found| WeightsError::NotAFile {
            path: path.to_owned(),
            found,
        };
        let file = ulda_files::open_file(path).map_err(|error| match FileRefusal::of(&error) {
            Some(FileRefusal::Folder) => not_a_file("a folder"),
            Some(FileRefusal::Pipe) => not_a_file("a pipe"),
            Some(FileRefusal::Device) => not_a_file("a device"),
            Some(FileRefusal::TooLarge { .. }) | None => failed(error),
        })?;
        let meta = file.metadata().map_err(failed)?;
        if meta.len() > MOST_BYTES {
            return Err(WeightsError::TooLarge {
                path: path.to_owned(),
                bytes: meta.len(),
            });
        }
        Ok(Self {
            path,
            file,
            length: meta.len(),
        })
    }

    /// The `count` bytes from `at` on, fewer where the file ends before.
    pub fn bytes(&self, at: u64, count: u64) -> Result<Vec<u8>, WeightsError> {
        let count = count.min(self.length.saturating_sub(at));
        let mut bytes = vec![0; usize::try_from(count).expect("files are limited to MOST_BYTES")];
        self.file
            .read_exact_at(&mut bytes, at)
            .map_err(|source| WeightsError::Read {
                path: self.path.to_owned(),
                source,
            })?;
        Ok(bytes)
    }
}
