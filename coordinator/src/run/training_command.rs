//! How a worker process is called.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::launch::Command;
use crate::run_directory::RunDirectory;

/// What all workers of a run on this host have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerLaunch {
    pub binary: PathBuf,
    pub run: String,
    pub coordinator: SocketAddr,
    pub threads: u32,
    pub directory: RunDirectory,
    /// `RUST_LOG` of the workers.
    pub log_filter: String,
}

/// The command that starts the worker of one slot.
#[must_use]
pub fn worker_command(launch: &WorkerLaunch, slot: u32) -> Command {
    let coordinator = format!("http://{}", launch.coordinator);
    let slot_text = slot.to_string();
    let arguments = [
        "join",
        "--coordinator",
        &coordinator,
        "--run",
        &launch.run,
        "--slot",
        &slot_text,
        "--data-listen",
        "127.0.0.1:0",
    ];
    Command {
        program: launch.binary.clone(),
        arguments: arguments.iter().map(Into::into).collect(),
        environment: vec![
            ("OMP_NUM_THREADS".into(), launch.threads.to_string()),
            ("RUST_LOG".into(), launch.log_filter.clone()),
            ("NO_COLOR".into(), "1".into()),
        ],
        log: launch.directory.worker_log(slot),
    }
}
