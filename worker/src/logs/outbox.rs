//! Lines that wait to be sent.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Most that waits; more is dropped, the newest first, and counted.
const ROOM_BYTES: usize = 1 << 20;
/// Most that is sent at once.
const BATCH_BYTES: usize = 256 << 10;

/// A bounded queue of log lines, shared by all threads.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    open: AtomicBool,
    /// Somebody may find something to send.
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
}

/// Some lines, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxLines {
    pub lines: Vec<String>,
    /// Lines that found no room since the last ones.
    pub dropped: u64,
}

impl OutboxLines {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            open: AtomicBool::new(true),
            filled: Notify::new(),
        }))
    }
}

impl Outbox {
    /// Adds a line; never waits for anything but other lines.
    pub fn put(&self, line: &str) {
        if !self.0.open.load(Ordering::Relaxed) {
            return;
        }
        let mut queue = self.queue();
        if queue.bytes + line.len() > ROOM_BYTES {
            queue.dropped += 1;
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_owned());
        drop(queue);
        self.0.filled.notify_one();
    }

    /// Nobody will take lines: those that wait are forgotten, and no more are kept.
    pub fn close(&self) {
        self.0.open.store(false, Ordering::Relaxed);
        *self.queue() = Queue::default();
    }

    /// What is to be sent next; empty where nothing waits.
    #[must_use]
    pub fn take(&self) -> OutboxLines {
        let mut queue = self.queue();
        let mut taken = OutboxLines {
            lines: Vec::new(),
            dropped: std::mem::take(&mut queue.dropped),
        };
        let mut bytes = 0;
        while let Some(line) = queue.lines.pop_front() {
            bytes += line.len();
            queue.bytes -= line.len();
            taken.lines.push(line);
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        taken
    }

    /// Returns when there may be something to take.
    pub async fn filled(&self) {
        self.0.filled.notified().await;
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted_and_nobody_waits() {
        let outbox = Outbox::default();
        let line = "x".repeat(1000);
        for _ in 0..2000 {
            outbox.put(&line);
        }
        let kept = ROOM_BYTES / 1000;
        let mut lines = 0;
        let first = outbox.take();
        assert_eq!(first.dropped, 2000 - kept as u64);
        lines += first.lines.len();
        assert!(first.lines.len() * 1000 <= BATCH_BYTES + 1000);
        loop {
            let more = outbox.take();
            if more.is_empty() {
                break;
            }
            lines += more.lines.len();
        }
        assert_eq!(lines, kept);
        outbox.put("one");
        outbox.close();
        outbox.put("two");
        assert!(outbox.take().is_empty());
    }
}
