//! Whole objects below one URL.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio_util::sync::CancellationToken;

use crate::connect::{PrefixedStore, connect};
use crate::counters::{Operation, StorageCounters};
use crate::retry::Patience;
use crate::runtime::block_on;
use crate::{Settings, StorageError, StorageLocation, transfer};

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Below the storage's URL.
    pub name: String,
    pub size_bytes: u64,
    /// What changes with its content, as the server has it.
    pub etag: String,
}

/// A place to keep objects. Blocking: for plain threads only. Clones share their connections and counters.
#[derive(Clone)]
pub struct Storage {
    place: StorageLocation,
    client: PrefixedStore,
    patience: Patience,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({})", self.place)
    }
}

impl Storage {
    /// Opens the storage at a URL; nothing is asked of it yet.
    ///
    /// # Errors
    /// When URL or settings are wrong.
    pub fn open(url: &str, settings: &Settings, counters: StorageCounters) -> Result<Self, StorageError> {
        Self::at(StorageLocation::parse(url)?, settings, counters)
    }

    /// # Errors
    /// When the settings contradict each other.
    pub fn at(
        place: StorageLocation,
        settings: &Settings,
        counters: StorageCounters,
    ) -> Result<Self, StorageError> {
        let client = connect(&place, settings)?;
        Ok(Self {
            place,
            client,
            patience: Patience {
                deadline: settings.deadline,
                counters,
                cancel: CancellationToken::new(),
            },
        })
    }

    /// The part of this storage below `name`.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        let mut storage = self.clone();
        storage.place = self.place.below(name);
        let prefix = &mut storage.client.prefix;
        *prefix = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}/{name}")
        };
        storage
    }

    /// The same storage with an end of its own: what it waits for is given up when the token says so.
    #[must_use]
    pub fn until(&self, cancel: CancellationToken) -> Self {
        let mut storage = self.clone();
        storage.patience.cancel = cancel;
        storage
    }

    /// The same storage with another longest time for one request and its repetitions.
    #[must_use]
    pub fn within(&self, deadline: std::time::Duration) -> Self {
        let mut storage = self.clone();
        storage.patience.deadline = deadline;
        storage
    }

    #[must_use]
    pub fn counters(&self) -> &StorageCounters {
        &self.patience.counters
    }

    /// The URL of an object in it.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        self.place.below(name).to_string()
    }

    /// Writes a whole object: readers see all of it or what was there before.
    ///
    /// # Errors
    /// When the storage refuses, or does not take it within the deadline.
    pub fn put(&self, name: &str, bytes: impl Into<Bytes>) -> Result<(), StorageError> {
        let (url, path, bytes) = (self.url(name), self.path(name), bytes.into());
        let size = bytes.len() as u64;
        self.account(Operation::Put, || {
            let put = transfer::put(&self.client, &self.patience, &url, &path, bytes);
            block_on(put).map(|()| ((), size))
        })
    }

    /// Has the storage copy a whole object to another name, in place of what is there. No bytes pass through this host.
    ///
    /// # Errors
    /// When there is none, or the storage does not copy it within the deadline.
    pub fn copy(&self, from: &str, to: &str) -> Result<(), StorageError> {
        let (url, from, to) = (self.url(to), self.path(from), self.path(to));
        self.account(Operation::Put, || {
            let copy = || self.client.store.copy(&from, &to);
            block_on(self.patience.insist(Operation::Put, &url, copy)).map(|()| ((), 0))
        })
    }

    /// Reads a whole object.
    ///
    /// # Errors
    /// When there is none, or it cannot be read within the deadline.
    pub fn get(&self, name: &str) -> Result<Bytes, StorageError> {
        let (url, path) = (self.url(name), self.path(name));
        self.account(Operation::Get, || {
            let bytes = block_on(transfer::get(&self.client, &self.patience, &url, &path))?;
            let size = bytes.len() as u64;
            Ok((bytes, size))
        })
    }

    /// Size and tag of an object, without its bytes.
    ///
    /// # Errors
    /// When there is none, or the storage does not answer within the deadline.
    pub fn look(&self, name: &str) -> Result<Object, StorageError> {
        let (url, path) = (self.url(name), self.path(name));
        self.account(Operation::Get, || {
            let head = || self.client.store.head(&path);
            let meta = block_on(self.patience.insist(Operation::Get, &url, head))?;
            let object = Object {
                name: name.to_owned(),
                size_bytes: meta.size,
                etag: tag_of(&meta),
            };
            Ok((object, 0))
        })
    }

    /// All objects below a folder, in order of name; none where there is no such folder.
    ///
    /// # Errors
    /// When the storage does not answer within the deadline.
    pub fn list(&self, folder: &str) -> Result<Vec<Object>, StorageError> {
        let (url, path) = (self.url(folder), self.path(folder));
        self.account(Operation::List, || {
            let list = || self.client.store.list(Some(&path)).try_collect::<Vec<_>>();
            let found = block_on(self.patience.insist(Operation::List, &url, list))?;
            let mut objects: Vec<Object> = found
                .iter()
                .filter_map(|meta| {
                    let name = self.name_of(&meta.location)?;
                    Some(Object {
                        name,
                        size_bytes: meta.size,
                        etag: tag_of(meta),
                    })
                })
                .collect();
            objects.sort_by(|left, right| left.name.cmp(&right.name));
            Ok((objects, 0))
        })
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// When the storage refuses, or does not answer within the deadline.
    pub fn delete(&self, name: &str) -> Result<(), StorageError> {
        let (url, path) = (self.url(name), self.path(name));
        self.account(Operation::Delete, || {
            let delete = || self.client.store.delete(&path);
            match block_on(self.patience.insist(Operation::Delete, &url, delete)) {
                Err(error) if !error.is_not_found() => Err(error),
                Ok(()) | Err(_) => Ok(((), 0)),
            }
        })
    }

    /// Reads `length` bytes of an object from `offset` on, `etag` being what it was when it was looked at.
    pub(crate) fn chunks(
        &self,
        object: &Object,
        from: u64,
        take: impl FnMut(Bytes) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let (url, path) = (self.url(&object.name), self.path(&object.name));
        self.account(Operation::Get, || {
            block_on(transfer::chunks(
                &self.client,
                &self.patience,
                &url,
                &path,
                object,
                from,
                take,
            ))?;
            Ok(((), object.size_bytes - from))
        })
    }

    fn account<T>(
        &self,
        operation: Operation,
        work: impl FnOnce() -> Result<(T, u64), StorageError>,
    ) -> Result<T, StorageError> {
        let began = Instant::now();
        let counters = &self.patience.counters;
        match work() {
            Ok((value, bytes)) => {
                counters.done(operation, began.elapsed(), bytes);
                Ok(value)
            }
            // That something is not there is an answer.
            Err(error) if error.is_not_found() => {
                counters.done(operation, began.elapsed(), 0);
                Err(error)
            }
            Err(error) => {
                counters.failed(operation, began.elapsed());
                Err(error)
            }
        }
    }

    fn path(&self, name: &str) -> Path {
        let whole = [self.client.prefix.as_str(), name].join("/");
        let parts: Vec<&str> = whole.split('/').filter(|part| !part.is_empty()).collect();
        let whole = parts.join("/");
        // As it is, where it can be: listings name objects so.
        Path::parse(&whole).unwrap_or_else(|_| Path::from(whole))
    }

    fn name_of(&self, location: &Path) -> Option<String> {
        let location = location.as_ref();
        if self.client.prefix.is_empty() {
            return Some(location.to_owned());
        }
        let rest = location.strip_prefix(&self.client.prefix)?;
        Some(rest.strip_prefix('/')?.to_owned())
    }
}

fn tag_of(meta: &object_store::ObjectMeta) -> String {
    meta.e_tag
        .clone()
        .unwrap_or_else(|| meta.last_modified.timestamp_millis().to_string())
}
