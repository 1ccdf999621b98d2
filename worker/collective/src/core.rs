//! What all ranks and readers of one plane share.
//!
//! Invariant: the first fault is kept and is what every later call returns; setting it tells the peers and
//! wakes all local waiters.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ulda_run::ids::Shard;

use crate::error::CollectiveError;
use crate::frame::{FrameHeader, FrameKind, HEADER_BYTES};
use crate::link::{LAST_WORDS, PeerLink, abort_frame};
use crate::mailbox::Mailbox;
use crate::membership::{Membership, PlaneDeadlines, WorkerIndex};
use crate::pool::Pool;
use crate::segment::SharedSegments;
use crate::stats::PlaneCounters;
use crate::tag::{Tag, TagLedger};
use crate::wait::{Gate, lock};

/// How long a failed write waits for the reader to learn why.
const POST_MORTEM: Duration = Duration::from_secs(1);

pub(crate) struct Core {
    pub membership: Membership,
    pub deadlines: PlaneDeadlines,
    /// By worker; none for this one.
    pub links: Vec<Option<Arc<PeerLink>>>,
    /// None where no peer is on this host.
    pub segments: Option<SharedSegments>,
    /// By shard; only those of this worker's shards are used.
    pub ledgers: Vec<Mutex<TagLedger>>,
    pub mailbox: Mailbox,
    pub pool: Arc<Pool>,
    pub counters: Arc<PlaneCounters>,
    /// Threads of operations that run beside their caller.
    pub running: Mutex<Vec<JoinHandle<()>>>,
    fault: OnceLock<CollectiveError>,
    broken: Gate<()>,
}

impl Core {
    pub fn new(
        membership: Membership,
        deadlines: PlaneDeadlines,
        links: Vec<Option<Arc<PeerLink>>>,
        segments: Option<SharedSegments>,
    ) -> Core {
        let ledgers = membership.shards.iter().map(|_| Mutex::default()).collect();
        Core {
            mailbox: Mailbox::new(membership.workers.len()),
            membership,
            deadlines,
            links,
            segments,
            ledgers,
            pool: Arc::default(),
            counters: Arc::default(),
            running: Mutex::default(),
            fault: OnceLock::new(),
            broken: Gate::default(),
        }
    }

    /// Why the plane is broken, if it is.
    pub fn fault(&self) -> Option<&CollectiveError> {
        self.fault.get()
    }

    /// Breaks the plane; gives the first cause, which may be another.
    pub fn fail(&self, mut error: CollectiveError) -> CollectiveError {
        if let CollectiveError::PeerClosed { during, .. } = &mut error {
            *during = during.or_else(|| self.mailbox.under_way());
        }
        let first = self.fault.set(error.clone()).is_ok();
        if first {
            self.broken.wake();
            self.mailbox.wake();
            self.tell_peers(&error);
        }
        self.fault().cloned().unwrap_or(error)
    }

    fn tell_peers(&self, error: &CollectiveError) {
        let generation = self.membership.generation;
        let me = self.membership.me;
        let (header, payload) = match error {
            CollectiveError::Closed => (FrameHeader::control(FrameKind::Bye, generation, me.0), Vec::new()),
            CollectiveError::PeerAborted { worker, cause } => abort_frame(generation, *worker, cause),
            other => abort_frame(generation, me, &other.cause()),
        };
        let start = Instant::now();
        let left = || LAST_WORDS.saturating_sub(start.elapsed());
        for link in self.links.iter().flatten() {
            link.send_last(&header, &payload, left());
        }
        for link in self.links.iter().flatten() {
            link.end_writing(left());
        }
    }

    /// The worker that serves `shard`, which must be one of the run.
    pub fn worker_of(&self, shard: Shard) -> WorkerIndex {
        self.membership.shards[shard.0 as usize]
    }

    /// The worker that serves `shard`, if it has taken its leave.
    pub fn departed(&self, shard: Shard) -> Option<WorkerIndex> {
        let worker = self.worker_of(shard);
        let link = self.links[worker.0 as usize].as_ref()?;
        link.departed().then_some(worker)
    }

    /// Sends a frame of operation `tag` to other workers; those on this host read the payload where it is laid once
    /// for all of them.
    ///
    /// # Errors
    /// The plane's fault, `Timeout` or `PeerClosed`; does not set the fault.
    pub fn send(
        &self,
        tag: Tag,
        to: &[WorkerIndex],
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<(), CollectiveError> {
        if let Some(fault) = self.fault() {
            return Err(fault.clone());
        }
        let segments = self.segments.as_ref();
        let lent = segments.and_then(|segments| Some((segments, segments.lend(payload, to)?)));
        to.iter().try_for_each(|to| {
            let slot = lent.and_then(|(segments, slot)| segments.shares_with(*to).then_some(slot));
            self.send_one(tag, *to, &FrameHeader { slot, ..header }, payload)
        })
    }

    fn send_one(
        &self,
        tag: Tag,
        to: WorkerIndex,
        header: &FrameHeader,
        payload: &[u8],
    ) -> Result<(), CollectiveError> {
        if let Some(fault) = self.fault() {
            return Err(fault.clone());
        }
        let Some(link) = &self.links[to.0 as usize] else {
            return Ok(());
        };
        let inline = if header.slot.is_some() { &[] } else { payload };
        let Err(error) = link.send(header, inline) else {
            let bytes = (HEADER_BYTES + payload.len()) as u64;
            self.counters.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
            return Ok(());
        };
        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
            let shards = self.membership.shards_of(to);
            let waiting_for = shards.into_iter().map(|shard| (shard, to)).collect();
            let waited = self.deadlines.operation;
            return Err(CollectiveError::Timeout {
                tag,
                waiting_for,
                waited,
            });
        }
        // The reader of this connection sees how it ended, perhaps with the peer's own words.
        if !link.departed()
            && let (Some(fault), _) = self.broken.wait(POST_MORTEM, |_| self.fault().cloned())
        {
            return Err(fault);
        }
        Err(CollectiveError::PeerClosed {
            worker: to,
            during: Some(tag),
        })
    }

    /// Keeps the handle of a thread that runs an operation, and forgets those that have ended.
    pub fn keep(&self, handle: JoinHandle<()>) {
        let mut running = lock(&self.running);
        running.retain(|known| !known.is_finished());
        running.push(handle);
    }
}
