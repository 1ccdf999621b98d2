//! The only place that blocks on a condition.
//!
//! Invariant: every wait has a deadline. Blocking on sockets is in `link.rs` and `handshake.rs`, with
//! timeouts on the sockets or, for the thread that reads a peer, until the socket is shut down; and one who
//! waits for an operation that runs on another thread relies on that operation's deadlines (`rank.rs`).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Locks, also where a panicking thread left the lock: the state is still whole, as no invariant spans a
/// call of foreign code.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// State that threads wait on.
#[derive(Debug, Default)]
pub(crate) struct Gate<T> {
    state: Mutex<T>,
    changed: Condvar,
}

impl<T> Gate<T> {
    pub fn new(state: T) -> Gate<T> {
        Gate {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Locks the state; wakes nobody.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        lock(&self.state)
    }

    /// Wakes all waiters. The lock is taken in between, so that a waiter which has just looked is asleep by
    /// then.
    pub fn wake(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Changes the state and wakes all waiters.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `look` gives something, at most `limit`; also gives how long it took.
    pub fn wait<R>(
        &self,
        limit: Duration,
        mut look: impl FnMut(&mut T) -> Option<R>,
    ) -> (Option<R>, Duration) {
        let mut state = self.lock();
        if let Some(found) = look(&mut state) {
            return (Some(found), Duration::ZERO);
        }
        let start = Instant::now();
        loop {
            let waited = start.elapsed();
            let Some(left) = limit.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return (None, waited);
            };
            let woken = self.changed.wait_timeout(state, left);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = look(&mut state) {
                return (Some(found), start.elapsed());
            }
        }
    }
}
