//! Objects to files: one by one in order, or many small ones at once.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Component, Path};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::lock::Lock;
use super::progress::FetchProgress;
use crate::{Object, Storage, StorageError};

/// Objects of a tree fetched at once.
const AT_ONCE: usize = 8;

/// Appends to `part` what of the object is not in it yet.
pub(super) fn download(
    storage: &Storage,
    object: &Object,
    part: &Path,
    lock: &Lock,
) -> Result<(), StorageError> {
    let mut file = ulda_files::append_to(part).map_err(StorageError::disk("create", part))?;
    let there = file.metadata().map_err(StorageError::disk("read", part))?.len();
    let there = if there > object.size_bytes {
        file.set_len(0).map_err(StorageError::disk("cut", part))?;
        0
    } else {
        there
    };
    let mut progress = FetchProgress::new(storage.url(&object.name), there, object.size_bytes, lock);
    storage.chunks(object, there, |bytes| {
        file.write_all(&bytes)
            .map_err(StorageError::disk("write", part))?;
        progress.add(bytes.len() as u64);
        Ok(())
    })?;
    file.sync_all().map_err(StorageError::disk("sync", part))?;
    let length = file.metadata().map_err(StorageError::disk("read", part))?.len();
    if length != object.size_bytes {
        // Begun anew the next time.
        file.set_len(0).map_err(StorageError::disk("cut", part))?;
        return Err(StorageError::Content {
            url: storage.url(&object.name),
            what: format!("came as {length} bytes and has {}", object.size_bytes),
            hint: "start again; end whatever else writes into the cache",
        });
    }
    progress.end();
    Ok(())
}

/// Fetches all objects below `prefix` into `folder`, leaving out those that are there in full.
pub(super) fn download_tree(
    storage: &Storage,
    objects: &[Object],
    folder: &Path,
    lock: &Lock,
) -> Result<(), StorageError> {
    let total = objects.iter().map(|object| object.size_bytes).sum();
    let missing: Vec<&Object> = objects
        .iter()
        .filter(|object| {
            let there = folder.join(&object.name).metadata();
            there.map_or(true, |file| file.len() != object.size_bytes)
        })
        .collect();
    let left: u64 = missing.iter().map(|object| object.size_bytes).sum();
    let progress = Mutex::new(FetchProgress::new(storage.url(""), total - left, total, lock));
    let next = AtomicUsize::new(0);
    let first_error = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(missing.len()) {
            scope.spawn(|| {
                while let Some(object) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match file_of(storage, object, folder) {
                        Ok(()) => guard(&progress).add(object.size_bytes),
                        Err(error) => {
                            next.store(missing.len(), Ordering::Relaxed);
                            guard(&first_error).get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    let failed = guard(&first_error).take();
    if let Some(error) = failed {
        return Err(error);
    }
    progress
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .end();
    Ok(())
}

fn guard<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn file_of(storage: &Storage, object: &Object, folder: &Path) -> Result<(), StorageError> {
    let name = Path::new(&object.name);
    if !name.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(StorageError::Content {
            url: storage.url(&object.name),
            what: "has a name that points outside of the data set".into(),
            hint: "give its objects plain names",
        });
    }
    let target = folder.join(name);
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent).map_err(StorageError::disk("create folder", parent))?;
    }
    let beside = folder.join(format!("{}.part", object.name));
    let mut file = ulda_files::create_file(&beside).map_err(StorageError::disk("create", &beside))?;
    storage.chunks(object, 0, |bytes| {
        file.write_all(&bytes)
            .map_err(StorageError::disk("write", &beside))
    })?;
    std::fs::rename(&beside, &target).map_err(StorageError::disk("rename into place", target))
}

/// Puts on disk all that was written below `folder`, at once.
pub(super) fn sync_tree(folder: &Path) -> Result<(), StorageError> {
    let file = File::open(folder).map_err(StorageError::disk("open", folder))?;
    // SAFETY: the descriptor is open for the call's duration.
    match unsafe { libc::syncfs(file.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(StorageError::disk("sync", folder)(std::io::Error::last_os_error())),
    }
}
