//! Counters of one plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What a plane has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaneStats {
    /// Bytes given to other workers, headers included.
    pub sent_bytes: u64,
    /// Bytes taken from other workers, headers included.
    pub received_bytes: u64,
    /// Those of the bytes taken that were read from memory shared with the sender.
    pub shared_bytes: u64,
    /// Operations called, by all ranks together.
    pub operations: u64,
    /// Time ranks spent waiting for others, summed over ranks.
    pub waited: Duration,
}

/// Reads a plane's counters without keeping the plane.
#[derive(Clone, Debug)]
pub struct Meter(pub(crate) Arc<PlaneCounters>);

impl Meter {
    /// What the plane has done so far.
    #[must_use]
    pub fn read(&self) -> PlaneStats {
        self.0.snapshot()
    }
}

#[derive(Debug, Default)]
pub(crate) struct PlaneCounters {
    pub sent_bytes: AtomicU64,
    pub received_bytes: AtomicU64,
    pub shared_bytes: AtomicU64,
    pub operations: AtomicU64,
    pub waited_nanos: AtomicU64,
}

impl PlaneCounters {
    pub fn waited(&self, waited: Duration) {
        self.waited_nanos.fetch_add(waited.as_nanos() as u64, Relaxed);
    }

    pub fn snapshot(&self) -> PlaneStats {
        PlaneStats {
            sent_bytes: self.sent_bytes.load(Relaxed),
            received_bytes: self.received_bytes.load(Relaxed),
            shared_bytes: self.shared_bytes.load(Relaxed),
            operations: self.operations.load(Relaxed),
            waited: Duration::from_nanos(self.waited_nanos.load(Relaxed)),
        }
    }
}
