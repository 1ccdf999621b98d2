//! A worker's log lines: on stderr, and to the coordinator where that keeps them.
//!
//! [`start`] sets up both; [`Outbox`] holds what is not sent yet, bounded: whoever logs never waits, and what finds
//! no room is counted. A panic is a line like any other.

mod outbox;
mod panics;
mod start;

pub use outbox::{Outbox, OutboxLines};
pub use start::{outbox, start};
