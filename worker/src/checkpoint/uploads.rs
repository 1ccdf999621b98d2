//! Brings files of the run directory to its storage while training goes on.
//!
//! One thread, one parcel at a time: the finished models first, then the newest checkpoint, then other files. What
//! cannot be brought stays pending and is tried again; nobody waits for it who does not say for how long. Invariant: a
//! parcel leaves the pending ones only when it lies in the storage, or when there is nothing left to bring.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::ErrorKind::NotFound;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use ulda_run::stage::Cursor;
use ulda_storage::{Storage, StorageCount};

use super::error::CheckpointError;
use super::remote::RemoteStore;
use crate::exit::with_hint;

/// After a parcel that could not be brought.
const AGAIN_AFTER: Duration = Duration::from_secs(15);
/// Between two tellings of how it goes.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Something to be brought, in the order in which it matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Upload {
    /// The folder of finished models.
    Models(String),
    /// A resume checkpoint; the newest first.
    Checkpoint(Reverse<Cursor>, String),
    /// A file, relative to the run directory.
    File(String),
}

impl Upload {
    #[must_use]
    pub fn checkpoint(cursor: Cursor, name: String) -> Self {
        Self::Checkpoint(Reverse(cursor), name)
    }
}

/// A checkpoint that lies in the storage now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    pub path: PathBuf,
    pub cursor: Cursor,
    pub digest: String,
    pub size_bytes: u64,
}

/// Who is told what was brought, and how it goes.
pub trait UploadObserver: Send + 'static {
    fn uploaded(&self, checkpoint: Uploaded);
    fn counted(&self, count: StorageCount);
}

#[derive(Debug)]
pub struct Uploads {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<Pending>,
    changed: Condvar,
    cancel: CancellationToken,
}

#[derive(Debug, Default)]
struct Pending {
    /// Each with when it is tried again, if it failed.
    parcels: BTreeMap<Upload, Option<Instant>>,
    /// On its way. An equal one that is offered meanwhile is of newer bytes, and waits.
    carried: Option<Upload>,
    closing: bool,
}

impl Pending {
    fn all(&self) -> impl Iterator<Item = &Upload> {
        self.carried.iter().chain(self.parcels.keys())
    }

    /// Takes the first one that is due: one that cannot be brought keeps no other from it.
    fn take(&mut self, now: Instant) -> Option<Upload> {
        let is_due = |again: &Option<Instant>| again.is_none_or(|again| again <= now);
        let (parcel, _) = self.parcels.iter().find(|(_, again)| is_due(again))?;
        let parcel = parcel.clone();
        self.parcels.remove(&parcel);
        self.carried = Some(parcel.clone());
        Some(parcel)
    }

    /// How long none is due.
    fn pause(&self, now: Instant) -> Duration {
        let times = self.parcels.values().flatten();
        let first = times.min().map(|again| again.saturating_duration_since(now));
        first.map_or(TELL_EVERY, |pause| pause.min(TELL_EVERY))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, Pending>, longest: Duration) -> MutexGuard<'a, Pending> {
        let waited = self.changed.wait_timeout(state, longest);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Uploads {
    /// Starts the thread. Files are looked for in `run_directory`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        run_directory: PathBuf,
        storage: &Storage,
        store: &RemoteStore,
        listener: impl UploadObserver,
    ) -> std::io::Result<Self> {
        let cancel = CancellationToken::new();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            cancel: cancel.clone(),
        });
        let storage = storage.until(cancel);
        let mut carrier = Carrier {
            run_directory,
            store: store.through(storage.clone()),
            storage,
            listener,
            shared: Arc::clone(&shared),
            failing: false,
        };
        let thread = std::thread::Builder::new()
            .name("uploads".into())
            .spawn(move || carrier.carry())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Has a parcel brought; one that is pending already is brought once, as it is then.
    pub fn offer(&self, parcel: Upload) {
        let mut state = self.shared.lock();
        state.parcels.insert(parcel, None);
        // Something new is worth another try of the rest.
        state.parcels.values_mut().for_each(|again| *again = None);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits until no parcel of the kind is pending, but no longer than `longest`. Whether it is so.
    #[must_use]
    pub fn settle(&self, longest: Duration, concerns: impl Fn(&Upload) -> bool) -> bool {
        let until = Instant::now() + longest;
        let mut state = self.shared.lock();
        loop {
            if !state.all().any(&concerns) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.wait(state, left);
        }
    }
}

impl Drop for Uploads {
    /// Gives up what is on its way: whoever wants it there waits for it before.
    fn drop(&mut self) {
        let left = {
            let mut state = self.shared.lock();
            state.closing = true;
            state.all().count()
        };
        self.shared.changed.notify_all();
        self.shared.cancel.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if left > 0 {
            tracing::warn!(left, "files of the run directory that are not in the storage");
        }
    }
}

/// Whether there was anything left to bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Brought {
    Whole,
    Nothing,
}

struct Carrier<L> {
    run_directory: PathBuf,
    storage: Storage,
    store: RemoteStore,
    listener: L,
    shared: Arc<Shared>,
    failing: bool,
}

impl<L: UploadObserver> Carrier<L> {
    fn carry(&mut self) {
        let mut told = None::<Instant>;
        loop {
            if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                told = Some(Instant::now());
                self.tell();
            }
            let next = {
                let mut state = self.shared.lock();
                if state.closing {
                    return;
                }
                let now = Instant::now();
                match state.take(now) {
                    Some(parcel) => parcel,
                    None => {
                        let longest = state.pause(now);
                        drop(self.shared.wait(state, longest));
                        continue;
                    }
                }
            };
            self.tell();
            match self.bring(&next) {
                Ok(brought) => self.done_with(&next, brought),
                Err(error) => {
                    let mut state = self.shared.lock();
                    state.carried = None;
                    let again = Instant::now() + AGAIN_AFTER;
                    // An equal one that was offered meanwhile is due as it was.
                    state.parcels.entry(next.clone()).or_insert(Some(again));
                    if state.closing {
                        return;
                    }
                    drop(state);
                    self.failing = true;
                    tracing::warn!(
                        ?next,
                        error = with_hint(&error, error.hint()),
                        again_s = AGAIN_AFTER.as_secs(),
                        "not brought to the storage, training goes on; the local copy stays and is tried again"
                    );
                }
            }
            self.shared.changed.notify_all();
            self.tell();
        }
    }

    fn done_with(&mut self, parcel: &Upload, brought: Brought) {
        if brought == Brought::Whole && std::mem::take(&mut self.failing) {
            tracing::info!(?parcel, "the storage takes files again");
        }
        let mut state = self.shared.lock();
        state.carried = None;
        if let (Brought::Whole, Upload::Checkpoint(Reverse(newest), _)) = (brought, parcel) {
            // Older ones are of no use any more.
            let older = |parcel: &Upload| matches!(parcel, Upload::Checkpoint(Reverse(at), _) if at < newest);
            state.parcels.retain(|parcel, _| !older(parcel));
        }
    }

    fn tell(&self) {
        let counters = self.storage.counters();
        counters.set_pending(self.shared.lock().all().count());
        self.listener.counted(counters.read());
    }

    fn bring(&self, parcel: &Upload) -> Result<Brought, CheckpointError> {
        match parcel {
            Upload::Models(name) => {
                self.bring_folder(name)?;
            }
            Upload::Checkpoint(Reverse(cursor), name) => {
                let (digest, size_bytes) = match self.bring_folder(name) {
                    Ok(brought) => brought,
                    // Pruned meanwhile.
                    Err(CheckpointError::Io { source, .. }) if source.kind() == NotFound => {
                        return Ok(Brought::Nothing);
                    }
                    Err(error @ CheckpointError::Damaged { .. }) => {
                        let error = with_hint(&error, error.hint());
                        tracing::warn!(error, "damaged on disk, not brought to the storage");
                        return Ok(Brought::Nothing);
                    }
                    Err(error) => return Err(error),
                };
                self.listener.uploaded(Uploaded {
                    path: self.store.path(name),
                    cursor: *cursor,
                    digest,
                    size_bytes,
                });
                // What is too many costs space only; the next one prunes again.
                if let Err(error) = self.store.prune(*cursor) {
                    tracing::warn!(
                        error = with_hint(&error, error.hint()),
                        "old checkpoints not removed"
                    );
                }
            }
            Upload::File(name) => {
                let path = self.run_directory.join(name);
                match std::fs::read(&path) {
                    Ok(bytes) => self.storage.put(name, bytes)?,
                    Err(error) if error.kind() == NotFound => return Ok(Brought::Nothing),
                    Err(source) => {
                        return Err(CheckpointError::Io {
                            action: "read",
                            path,
                            source,
                        });
                    }
                }
            }
        }
        Ok(Brought::Whole)
    }

    /// Digest and size of what was brought.
    fn bring_folder(&self, name: &str) -> Result<(String, u64), CheckpointError> {
        let folder = self.run_directory.join("checkpoints").join(name);
        let manifest = self.store.upload(name, &folder)?;
        let size = manifest.files.values().map(|file| file.size_bytes).sum();
        Ok((manifest.digest, size))
    }
}
