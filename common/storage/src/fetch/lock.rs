//! One process of a host at a time.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::StorageError;

/// Between two looks at a lock that another process holds.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A lock on something in the cache; released when dropped, or with its process.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Waits for the lock, for as long as its holder gets on: `idle` is the longest time without.
    pub fn take(path: PathBuf, idle: Duration) -> Result<Self, StorageError> {
        let file = ulda_files::open_or_create(&path).map_err(StorageError::disk("create", &path))?;
        let mut seen = modified(&path);
        let mut since = Instant::now();
        let mut logged = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(StorageError::disk("lock", path)(source)),
            }
            let now = modified(&path);
            if now != seen {
                seen = now;
                since = Instant::now();
            }
            let waited = since.elapsed();
            if waited > idle {
                return Err(StorageError::Locked { lock: path, waited });
            }
            if !logged {
                tracing::info!(lock = %path.display(), "another process of this host fetches; waiting for it");
                logged = true;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Shows those who wait that this one gets on.
    pub fn touch(&self) {
        // A file system without times only makes the others less patient.
        let _ = self.file.set_modified(SystemTime::now());
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|file| file.modified()).ok()
}
