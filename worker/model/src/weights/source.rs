//! The file of a checkpoint, opened so that nothing but a regular file of bounded size is read.

use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

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
    /// Opens without waiting, so that a pipe that nobody writes to is refused like any other special file.
    pub fn open(path: &'a Path) -> Result<Self, WeightsError> {
        let failed = |source| WeightsError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
            .map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        let kind = meta.file_type();
        if !kind.is_file() {
            let found = match () {
                () if kind.is_dir() => "a folder",
                () if kind.is_fifo() => "a pipe",
                () => "a device",
            };
            return Err(WeightsError::NotAFile {
                path: path.to_owned(),
                found,
            });
        }
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
