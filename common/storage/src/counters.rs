//! What was asked of a storage, how often in vain, and what waits.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ulda_run::variant_names;

/// What is asked of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Put,
    Get,
    List,
    Delete,
}

variant_names!(Operation { Put = "put", Get = "get", List = "list", Delete = "delete" });

impl Operation {
    /// As an error begins.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Put => "write",
            Self::Get => "read",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// Totals of one operation since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OperationCount {
    /// Done or given up.
    pub total: u64,
    /// Given up.
    pub failures: u64,
    pub retries: u64,
    pub bytes: u64,
    /// From the first try to the end, pauses included.
    pub seconds: f64,
}

/// Everything counted, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StorageCount {
    /// Tells processes apart: totals of another one begin anew.
    pub process: u64,
    /// In the order of [`Operation::ALL`].
    pub operations: [OperationCount; 4],
    /// Files and checkpoints that are still to be written there.
    pub pending: u64,
    /// When something was last written there, milliseconds since 1970.
    pub last_put_millis: Option<u64>,
}

#[derive(Debug, Default)]
struct Cells {
    total: AtomicU64,
    failures: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    process: u64,
    operations: [Cells; 4],
    pending: AtomicU64,
    last_put_millis: AtomicU64,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            process: RandomState::new().hash_one(std::process::id()),
            operations: Default::default(),
            pending: AtomicU64::default(),
            last_put_millis: AtomicU64::default(),
        }
    }
}

/// Shared by all who use a storage; clones count together.
#[derive(Clone, Debug, Default)]
pub struct StorageCounters(Arc<Inner>);

impl StorageCounters {
    #[must_use]
    pub fn read(&self) -> StorageCount {
        let last = self.0.last_put_millis.load(Ordering::Relaxed);
        let mut count = StorageCount {
            process: self.0.process,
            pending: self.0.pending.load(Ordering::Relaxed),
            last_put_millis: (last > 0).then_some(last),
            ..StorageCount::default()
        };
        for (read, cells) in count.operations.iter_mut().zip(&self.0.operations) {
            *read = OperationCount {
                total: cells.total.load(Ordering::Relaxed),
                failures: cells.failures.load(Ordering::Relaxed),
                retries: cells.retries.load(Ordering::Relaxed),
                bytes: cells.bytes.load(Ordering::Relaxed),
                seconds: cells.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9,
            };
        }
        count
    }

    pub fn set_pending(&self, pending: usize) {
        self.0.pending.store(pending as u64, Ordering::Relaxed);
    }

    fn cells(&self, operation: Operation) -> &Cells {
        &self.0.operations[operation as usize]
    }

    pub(crate) fn retried(&self, operation: Operation) {
        self.cells(operation).retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn done(&self, operation: Operation, took: Duration, bytes: u64) {
        self.took(operation, took);
        self.cells(operation).bytes.fetch_add(bytes, Ordering::Relaxed);
        if operation == Operation::Put {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            self.0.last_put_millis.store(millis, Ordering::Relaxed);
        }
    }

    pub(crate) fn failed(&self, operation: Operation, took: Duration) {
        self.took(operation, took);
        self.cells(operation).failures.fetch_add(1, Ordering::Relaxed);
    }

    fn took(&self, operation: Operation, took: Duration) {
        let cells = self.cells(operation);
        cells.total.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        cells.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}
