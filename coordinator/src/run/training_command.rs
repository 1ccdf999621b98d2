//! How a worker process is called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ulda_run::spec::DeviceChoice;

use crate::launch::Command;
use crate::run_directory::RunDirectory;

/// What all workers of a run on this host have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerLaunch {
    pub binary: PathBuf,
    pub run: String,
    pub coordinator: SocketAddr,
    /// Whether it is dialled with TLS.
    pub tls: bool,
    /// The folder with token and certificates; what is in it appears in no argument and no variable.
    pub credentials: PathBuf,
    pub threads: u32,
    pub device: DeviceChoice,
    pub directory: RunDirectory,
    /// `RUST_LOG` of the workers.
    pub log_filter: String,
}

/// How a process of this host dials a coordinator that listens at `listen`.
#[must_use]
pub fn dialled(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    listen
}

/// The command that starts the worker of one slot.
#[must_use]
pub fn worker_command(launch: &WorkerLaunch, slot: u32) -> Command {
    let scheme = if launch.tls { "https" } else { "http" };
    let coordinator = format!("{scheme}://{}", dialled(launch.coordinator));
    let credentials = launch.credentials.as_os_str();
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
    let mut environment = vec![
        ("OMP_NUM_THREADS".into(), launch.threads.to_string()),
        ("RUST_LOG".into(), launch.log_filter.clone()),
        ("NO_COLOR".into(), "1".into()),
    ];
    // Where the run.toml leaves it open, what the environment says is handed on.
    if launch.device != DeviceChoice::Auto {
        environment.push(("ULDA_DEVICE".into(), launch.device.name().into()));
    }
    Command {
        program: launch.binary.clone(),
        arguments: arguments
            .iter()
            .map(Into::into)
            .chain(["--credentials".into(), credentials.to_owned()])
            .collect(),
        environment,
        log: launch.directory.worker_log(slot),
    }
}
