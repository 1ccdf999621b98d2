//! When a checkpoint is due by time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When this process last took a state for a checkpoint; at first, when it began.
///
/// Only the shard that leads asks, and it asks its own clock: a checkpoint changes nothing that is computed, so the shards
/// need not agree on when there is one, and no digest depends on it.
#[derive(Debug)]
pub struct CheckpointClock(Mutex<Instant>);

impl CheckpointClock {
    #[must_use]
    pub fn start() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Whether the last one is that long ago.
    #[must_use]
    pub fn is_due(&self, every: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= every
    }

    /// A state was taken.
    pub fn restart(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}
