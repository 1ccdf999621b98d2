//! Tests of the coordinator's shell with real files, sockets and processes.

mod bench;
mod cli;
mod journal;
mod launch;
mod lives;
mod report;
mod rpc;
