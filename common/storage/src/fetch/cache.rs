//! The folder of a host that keeps what was fetched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{download, download_tree, sync_tree};
use super::lock::Lock;
use crate::archive::{Format, unpack};
use crate::{Object, Storage, StorageError, StorageLocation};

/// On top of a request's deadline, for unpacking between two signs of life.
const UNPACKING: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// Longest time without progress of a process that fetches.
    idle: Duration,
}

/// Something in the cache, or to be.
pub(super) struct CacheEntry {
    name: String,
}

impl CacheEntry {
    /// Named for a person, and told apart by digests of the URL and of `content`.
    pub fn of(place: &StorageLocation, content: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(place.to_string().as_bytes())
            .update(&[0])
            .update(content.as_bytes());
        let digest = hasher.finalize().to_hex();
        let plain = |letter: char| {
            if letter.is_ascii_alphanumeric() || "-_.".contains(letter) {
                letter
            } else {
                '_'
            }
        };
        let shown: String = place.name().chars().map(plain).collect();
        // The digest comes first, so that the name keeps its ending: loaders of weights go by it.
        Self {
            name: format!("{}-{shown}", &digest[..16]),
        }
    }
}

impl Cache {
    pub fn new(folder: PathBuf, deadline: Duration) -> Self {
        Self {
            folder,
            idle: deadline + UNPACKING,
        }
    }

    fn path(&self, entry: &CacheEntry) -> PathBuf {
        self.folder.join(&entry.name)
    }

    /// What was fetched before, if it is there.
    pub fn find(&self, entry: &CacheEntry) -> Option<PathBuf> {
        Some(self.path(entry)).filter(|path| path.exists())
    }

    /// The entry, made by `fetch` where it is missing. `fetch` is given a place beside it that may hold what an
    /// earlier try left, and a name for further files.
    fn make(
        &self,
        entry: &CacheEntry,
        fetch: impl FnOnce(&Path, &Path, &Lock) -> Result<(), StorageError>,
    ) -> Result<PathBuf, StorageError> {
        let path = self.path(entry);
        if path.exists() {
            return Ok(path);
        }
        std::fs::create_dir_all(&self.folder).map_err(StorageError::disk("create folder", &self.folder))?;
        let lock = Lock::take(self.folder.join(format!(".{}.lock", entry.name)), self.idle)?;
        if path.exists() {
            return Ok(path);
        }
        let beside = self.folder.join(format!(".{}.part", entry.name));
        let archive = self.folder.join(format!(".{}.archive", entry.name));
        fetch(&beside, &archive, &lock)?;
        std::fs::rename(&beside, &path).map_err(StorageError::disk("rename into place", &path))?;
        Ok(path)
    }

    /// One object as a file.
    pub fn file(
        &self,
        entry: &CacheEntry,
        storage: &Storage,
        object: &Object,
    ) -> Result<PathBuf, StorageError> {
        self.make(entry, |beside, _, lock| download(storage, object, beside, lock))
    }

    /// All objects of a tree as a folder.
    pub fn tree(
        &self,
        entry: &CacheEntry,
        storage: &Storage,
        objects: &[Object],
    ) -> Result<PathBuf, StorageError> {
        self.make(entry, |beside, _, lock| {
            std::fs::create_dir_all(beside).map_err(StorageError::disk("create folder", beside))?;
            download_tree(storage, objects, beside, lock)?;
            sync_tree(beside)
        })
    }

    /// One object, unpacked.
    pub fn unpacked(
        &self,
        entry: &CacheEntry,
        format: Format,
        storage: &Storage,
        object: &Object,
    ) -> Result<PathBuf, StorageError> {
        self.make(entry, |beside, archive, lock| {
            download(storage, object, archive, lock)?;
            let outcome = unpack_anew(archive, format, &storage.url(&object.name), beside);
            // A damaged one is not better the next time; a whole one is not needed any more.
            if !matches!(outcome, Err(StorageError::Disk { .. })) {
                std::fs::remove_file(archive).map_err(StorageError::disk("remove", archive))?;
            }
            outcome
        })
    }

    /// An archive that lies on a local disk, unpacked.
    pub fn unpacked_file(
        &self,
        entry: &CacheEntry,
        format: Format,
        place: &StorageLocation,
        archive: &Path,
    ) -> Result<PathBuf, StorageError> {
        self.make(entry, |beside, _, _| {
            unpack_anew(archive, format, &place.to_string(), beside)
        })
    }
}

fn unpack_anew(archive: &Path, format: Format, url: &str, folder: &Path) -> Result<(), StorageError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StorageError::disk("remove", folder)(error));
        }
        Ok(()) | Err(_) => {}
    }
    std::fs::create_dir_all(folder).map_err(StorageError::disk("create folder", folder))?;
    tracing::info!(url, folder = %folder.display(), "unpacking");
    let unpacked = unpack(archive, format, url, folder).and_then(|()| sync_tree(folder));
    if unpacked.is_err() {
        // What was written of it takes up space; that it cannot be removed is no better news.
        let _ = std::fs::remove_dir_all(folder);
    }
    unpacked
}
