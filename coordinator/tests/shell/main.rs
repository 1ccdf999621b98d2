//! Tests of the coordinator's shell with real files, sockets and processes.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

mod bad_rows;
mod bench;
mod cli;
mod compare;
#[path = "../../../proto/tests/hostile/mod.rs"]
mod hostile;
mod journal;
mod launch;
mod lives;
mod metrics;
mod monitoring;
mod page;
mod report;
mod rpc;
mod submit;
mod supervised;
mod tensorboard;
mod unauthenticated;
mod wire_bounds;
