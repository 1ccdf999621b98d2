//! Nodes: a host each for the coordinator and every worker, and a supervisor that keeps a worker running on each.
//!
//! The supervisor is a thread that starts a worker again whenever one ended, whatever its exit code, while its
//! node has power, and ends one that shows no life, as a liveness probe does. Workers end with it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ChaosError;
use crate::network::Network;
use crate::offspring::Pid;
use crate::world::start_logged;

/// The coordinator's host; slot n lives on host n + 1.
pub const COORDINATOR: usize = 0;
/// Its address there.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PORT: u16 = 7070;
const GLANCE: Duration = Duration::from_millis(20);
/// Between a worker's end and its next start.
const BACK_OFF: Duration = Duration::from_millis(200);
/// A worker that stands still for longer is ended. The coordinator gave it up long before.
const PROBE: Duration = Duration::from_secs(5);

/// What workers are started from.
#[derive(Clone, Debug)]
pub struct WorkerStart {
    pub binary: PathBuf,
    pub run: String,
    /// Folder of the workers' logs: a node's own, not the run's.
    pub logs: PathBuf,
    /// Folder by which coordinator and workers recognise each other.
    pub credentials: PathBuf,
}

#[derive(Debug)]
pub struct Nodes {
    network: Arc<Network>,
    workers: Arc<Mutex<Vec<Node>>>,
    over: Arc<AtomicBool>,
    logs: PathBuf,
    credentials: PathBuf,
}

#[derive(Debug)]
struct Node {
    wanted: bool,
    has_power: bool,
    worker: Option<Pid>,
    stands_still_since: Option<Instant>,
    not_before: Instant,
}

fn lock(workers: &Mutex<Vec<Node>>) -> MutexGuard<'_, Vec<Node>> {
    workers.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nodes {
    /// Nodes for `slots` workers, none of which is wanted yet.
    ///
    /// # Errors
    /// No network can be built.
    pub fn build(slots: u8, seed: u64, start: WorkerStart) -> Result<Self, ChaosError> {
        std::fs::create_dir_all(&start.logs).map_err(ChaosError::io("create", &start.logs))?;
        let network = Arc::new(Network::build(slots + 1, seed).map_err(ChaosError::Network)?);
        let node = || Node {
            wanted: false,
            has_power: true,
            worker: None,
            stands_still_since: None,
            not_before: Instant::now(),
        };
        let workers = Arc::new(Mutex::new((0..slots).map(|_| node()).collect::<Vec<_>>()));
        let over = Arc::new(AtomicBool::new(false));
        let (logs, credentials) = (start.logs.clone(), start.credentials.clone());
        let supervisor = Supervisor {
            network: Arc::clone(&network),
            workers: Arc::clone(&workers),
            over: Arc::clone(&over),
            start,
        };
        std::thread::Builder::new()
            .name("supervisor".into())
            .spawn(move || supervisor.watch())
            .map_err(ChaosError::Network)?;
        Ok(Self {
            network,
            workers,
            over,
            logs,
            credentials,
        })
    }

    #[must_use]
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    #[must_use]
    pub fn credentials(&self) -> &Path {
        &self.credentials
    }

    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Puts the coordinator on its host, where workers look for it.
    pub fn place_coordinator(&self, command: &mut Command) {
        if let Some(host) = self.network.host(COORDINATOR) {
            host.place(command);
        }
    }

    /// Where the coordinator is to listen.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{ADDRESS}:{PORT}")
    }

    /// The host of a slot's worker.
    #[must_use]
    pub fn host_of(slot: u32) -> usize {
        slot as usize + 1
    }

    /// From now on the first `count` nodes run workers, and no other does.
    pub fn want(&self, count: u32) {
        for (slot, node) in lock(&self.workers).iter_mut().enumerate() {
            node.wanted = slot < count as usize;
            if !node.wanted
                && let Some(worker) = node.worker
            {
                worker.signal(libc::SIGTERM);
            }
        }
    }

    /// One more node runs a worker. False where none is left.
    pub fn want_one_more(&self) -> bool {
        let mut workers = lock(&self.workers);
        let spare = workers.iter_mut().find(|node| !node.wanted);
        spare.map(|node| node.wanted = true).is_some()
    }

    /// A node dies at once, and nobody hears from it: its worker, and its link with it.
    pub fn power_off(&self, slot: u32) {
        let host = Self::host_of(slot);
        // The link first, so that no last packet says goodbye.
        self.network.change(|weather| weather.set_link(host, false));
        if let Some(node) = lock(&self.workers).get_mut(slot as usize) {
            node.has_power = false;
            if let Some(worker) = node.worker {
                worker.signal(libc::SIGKILL);
            }
        }
    }

    pub fn power_on(&self, slot: u32) {
        let host = Self::host_of(slot);
        self.network.change(|weather| weather.set_link(host, true));
        if let Some(node) = lock(&self.workers).get_mut(slot as usize) {
            node.has_power = true;
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

struct Supervisor {
    network: Arc<Network>,
    workers: Arc<Mutex<Vec<Node>>>,
    over: Arc<AtomicBool>,
    start: WorkerStart,
}

/// Ends the node's worker if it has stood still for too long.
fn probe(node: &mut Node) {
    let Some(worker) = node.worker.filter(|worker| worker.is_stopped()) else {
        node.stands_still_since = None;
        return;
    };
    let since = *node.stands_still_since.get_or_insert_with(Instant::now);
    if since.elapsed() > PROBE {
        worker.signal(libc::SIGKILL);
    }
}

impl Supervisor {
    fn watch(&self) {
        while !self.over.load(Ordering::SeqCst) {
            for (slot, node) in lock(&self.workers).iter_mut().enumerate() {
                self.tend(slot, node);
            }
            std::thread::park_timeout(GLANCE);
        }
    }

    fn tend(&self, slot: usize, node: &mut Node) {
        if let Some(worker) = node.worker
            && worker.ended().is_some()
        {
            node.worker = None;
            node.not_before = Instant::now() + BACK_OFF;
        }
        probe(node);
        if node.worker.is_none() && node.wanted && node.has_power && Instant::now() >= node.not_before {
            node.not_before = Instant::now() + BACK_OFF;
            // A worker that cannot be started is tried again; that it is missing shows in the run.
            node.worker = self.start_worker(slot).ok();
        }
    }

    fn start_worker(&self, slot: usize) -> Result<Pid, ChaosError> {
        let slot_text = slot.to_string();
        let coordinator = format!("https://{ADDRESS}:{PORT}");
        let mut command = Command::new(&self.start.binary);
        command.args(["join", "--run", &self.start.run, "--slot", &slot_text]);
        command.args(["--coordinator", &coordinator]);
        command.arg("--credentials").arg(&self.start.credentials);
        if let Some(host) = self.network.host(slot + 1) {
            command.args(["--data-listen", &format!("{}:0", host.address())]);
            host.place(&mut command);
        }
        command.env("OMP_NUM_THREADS", "1").env("RUST_LOG", "info");
        let log = self.start.logs.join(format!("worker-{slot}.log"));
        start_logged(command, &log)
    }
}
