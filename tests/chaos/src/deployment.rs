//! A site that stands: how the coordinator's and the workers' processes are started there.

use std::path::PathBuf;
use std::process::Command;

use ulda_coordinator::run_directory::RunDirectory;

use crate::ChaosError;
use crate::desk::{Desk, Wires};
use crate::network::Network;
use crate::nodes::{self, Nodes, WorkerStart};
use crate::shim;
use crate::site::Site;
use crate::world::{SHARDS, World, start_logged};

/// Nodes beyond one per shard, for workers that are added.
const SPARE_NODES: u8 = 2;
/// Where workers are added to a run whose coordinator starts its own, their slots begin here.
const FIRST_EXTRA_SLOT: u32 = 11;

#[derive(Debug)]
pub enum Deployment {
    Launched { extra: u32 },
    Proxied { desk: Desk, extra: u32 },
    Nodes(Nodes),
}

impl Deployment {
    /// # Errors
    /// No desk can be opened, or no network built.
    pub fn open(site: Site, world: &World, run: &str, seed: u64) -> Result<Self, ChaosError> {
        Ok(match site {
            Site::Launched => Self::Launched { extra: 0 },
            Site::Proxied => Self::Proxied {
                desk: Desk::open().map_err(ChaosError::Desk)?,
                extra: 0,
            },
            Site::Nodes => {
                let slots = u8::try_from(SHARDS)
                    .unwrap_or(u8::MAX)
                    .saturating_add(SPARE_NODES);
                let start = WorkerStart {
                    binary: world.binaries.worker.clone(),
                    run: run.to_owned(),
                    logs: world.folder.join(format!("{run}-nodes")),
                    credentials: world.credentials(&format!("{run}-keys"), nodes::ADDRESS)?,
                };
                Self::Nodes(Nodes::build(slots, seed, start)?)
            }
        })
    }

    /// The coordinator's program where it is to run, without arguments.
    #[must_use]
    pub fn coordinator(&self, world: &World) -> Command {
        let mut command = Command::new(&world.binaries.coordinator);
        match self {
            Self::Launched { .. } => {
                command.env("ULDA_WORKER", &world.binaries.worker);
            }
            Self::Proxied { desk, .. } => {
                command.env(shim::DESK, desk.address().to_string());
                // What goes through memory passes no relay.
                command.env("ULDA_SHARED_MEMORY", "off");
                command.env(shim::WORKER, &world.binaries.worker);
                command.env("ULDA_WORKER", &world.binaries.chaos);
            }
            Self::Nodes(nodes) => nodes.place_coordinator(&mut command),
        }
        command
    }

    /// Adds how the coordinator serves here.
    pub fn serve(&self, command: &mut Command) {
        command.args(["--log", "json"]);
        if let Self::Nodes(nodes) = self {
            command.args(["--no-launch", "--listen", &nodes.address()]);
            command.arg("--credentials").arg(nodes.credentials());
        }
    }

    /// So many workers are to serve; where the coordinator starts them, it is told by its arguments.
    pub fn want(&self, workers: u32) {
        if let Self::Nodes(nodes) = self {
            nodes.want(workers);
        }
    }

    /// Adds one worker beyond those that are wanted. False where that cannot be done now.
    ///
    /// # Errors
    /// Its process cannot be started.
    pub fn add_worker(
        &mut self,
        world: &World,
        run: &str,
        directory: &RunDirectory,
    ) -> Result<bool, ChaosError> {
        let extra = match self {
            Self::Launched { extra } | Self::Proxied { extra, .. } => extra,
            Self::Nodes(nodes) => return Ok(nodes.want_one_more()),
        };
        let Some(server) = directory.last_server() else {
            return Ok(false);
        };
        let slot = FIRST_EXTRA_SLOT + *extra;
        *extra += 1;
        let mut command = Command::new(&world.binaries.worker);
        command.args(["join", "--run", run, "--slot", &slot.to_string()]);
        command.args(["--coordinator", &server.url()]);
        command.arg("--credentials").arg(directory.credentials());
        command.env("OMP_NUM_THREADS", "1").env("RUST_LOG", "info");
        start_logged(command, &directory.worker_log(slot))?;
        Ok(true)
    }

    /// Does something to the wires of a slot's latest worker. False where there are none.
    pub fn with_wires(&self, slot: u32, act: impl FnOnce(&Wires)) -> bool {
        match self {
            Self::Proxied { desk, .. } => desk.with_wires(slot, act),
            Self::Launched { .. } | Self::Nodes(_) => false,
        }
    }

    #[must_use]
    pub fn nodes(&self) -> Option<&Nodes> {
        match self {
            Self::Nodes(nodes) => Some(nodes),
            Self::Launched { .. } | Self::Proxied { .. } => None,
        }
    }

    #[must_use]
    pub fn network(&self) -> Option<&Network> {
        self.nodes().map(Nodes::network)
    }

    /// Where the workers' logs are.
    #[must_use]
    pub fn worker_logs(&self, directory: &RunDirectory) -> PathBuf {
        match self {
            Self::Nodes(nodes) => nodes.logs().to_owned(),
            Self::Launched { .. } | Self::Proxied { .. } => directory.root().join("logs"),
        }
    }
}
