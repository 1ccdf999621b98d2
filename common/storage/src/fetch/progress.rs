//! Log lines of a long fetch.

use std::time::{Duration, Instant};

use super::lock::Lock;

const TELL_EVERY: Duration = Duration::from_secs(10);

/// Counts what has come, tells of it now and then, and keeps the lock fresh.
pub(super) struct FetchProgress<'a> {
    url: String,
    total: u64,
    done: u64,
    began: Instant,
    logged: Instant,
    lock: &'a Lock,
}

impl<'a> FetchProgress<'a> {
    /// `done` of `total` bytes are there already.
    pub fn new(url: String, done: u64, total: u64, lock: &'a Lock) -> Self {
        tracing::info!(url, mib = total >> 20, there_mib = done >> 20, "fetching");
        let now = Instant::now();
        Self {
            url,
            total,
            done,
            began: now,
            logged: now,
            lock,
        }
    }

    pub fn add(&mut self, bytes: u64) {
        self.done += bytes;
        self.lock.touch();
        if self.logged.elapsed() >= TELL_EVERY {
            self.logged = Instant::now();
            let percent = self.done * 100 / self.total.max(1);
            tracing::info!(
                url = self.url,
                done_mib = self.done >> 20,
                mib = self.total >> 20,
                percent,
                "fetching"
            );
        }
    }

    pub fn end(self) {
        let seconds = self.began.elapsed().as_secs_f64();
        tracing::info!(url = self.url, mib = self.total >> 20, seconds, "fetched");
    }
}
