//! Forms, holds and closes the mesh of one generation.
//!
//! One connection per pair of workers; the lower index dials the higher. Invariant: `connect` returns
//! within its deadline, and a dropped plane has no thread left that touches its sockets.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ulda_run::ids::{Generation, Shard};

use crate::core::Core;
use crate::error::{AbortCause, CollectiveError, HandshakeError};
use crate::handshake::{HandshakeConnection, PeerStream, ReplyError, nonce};
use crate::link::{LAST_WORDS, PeerLink, read_frames};
use crate::listener::{DataPlaneListener, FormingPhase, ListenerState};
use crate::membership::{Membership, PlaneDeadlines, RunId, Secret, WorkerIndex, WorkerPeer};
use crate::rank::Rank;
use crate::seal::Tls;
use crate::segment::{PeerSegment, SharedSegment, SharedSegments};
use crate::stats::{Meter, PlaneStats};
use crate::wait::{Gate, lock};

/// The first and the longest pause between two attempts to reach a peer.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// The connections of one generation.
pub struct DataPlane {
    core: Arc<Core>,
    readers: Vec<JoinHandle<()>>,
}

impl DataPlane {
    /// Connects to all workers of `membership`; all of them must call this.
    ///
    /// # Errors
    /// `Membership`, `Handshake`, `Io`. A refused caller is not an error; see
    /// [`DataPlaneListener::drain_refusals`]. A later call for a later generation, from another thread, ends this
    /// one with `StaleGeneration`.
    pub fn connect(
        listener: &DataPlaneListener,
        membership: Membership,
        deadlines: PlaneDeadlines,
    ) -> Result<DataPlane, CollectiveError> {
        membership.check()?;
        let membership = Arc::new(membership);
        let segment = own_segment(listener, &membership);
        listener.listen_for(&membership, segment.as_ref())?;
        let start = Instant::now();
        let formed = dial_all(listener, &membership, segment.as_ref(), deadlines, start)
            .and_then(|()| await_peers(&listener.state, &membership, deadlines.connect, start));
        let phase = if formed.is_ok() {
            FormingPhase::Formed
        } else {
            FormingPhase::Abandoned
        };
        listener.state.update(|state| {
            if state.forms(&membership)
                && let Some(listened) = &mut state.listened
            {
                listened.phase = phase;
                listened.segment = None;
            }
        });
        if let Some(segment) = &segment {
            segment.close();
        }
        DataPlane::start(Arc::unwrap_or_clone(membership), deadlines, formed?, segment)
    }

    /// All `shards` in this process, without a socket; the same bits as any mesh.
    ///
    /// # Errors
    /// `Membership` when `shards` is 0.
    pub fn solo(shards: u32, deadlines: PlaneDeadlines) -> Result<DataPlane, CollectiveError> {
        let membership = Membership {
            run: RunId("solo".into()),
            generation: Generation(0),
            me: WorkerIndex(0),
            workers: vec![WorkerPeer {
                address: String::new(),
            }],
            shards: vec![WorkerIndex(0); shards as usize],
            secret: Secret([0; 32]),
            encrypted: false,
        };
        membership.check()?;
        DataPlane::start(membership, deadlines, Vec::new(), None)
    }

    fn start(
        membership: Membership,
        deadlines: PlaneDeadlines,
        peers: Vec<(WorkerIndex, PeerStream)>,
        segment: Option<Arc<SharedSegment>>,
    ) -> Result<DataPlane, CollectiveError> {
        let mut links: Vec<Option<Arc<PeerLink>>> = membership.workers.iter().map(|_| None).collect();
        let mut segments: Vec<Option<Arc<PeerSegment>>> = membership.workers.iter().map(|_| None).collect();
        let mut halves = Vec::new();
        for (peer, mut stream) in peers {
            segments[peer.0 as usize] = stream.segment.take();
            let failed = |error| CollectiveError::io(format!("prepare the connection to {peer}"), error);
            let link = Arc::new(PeerLink::new(peer, stream, deadlines.operation).map_err(failed)?);
            halves.push((peer, link.clone(), link.reading_half().map_err(failed)?));
            links[peer.0 as usize] = Some(link);
        }
        let segment = segment.filter(|_| segments.iter().any(Option::is_some));
        let segments = segment.map(|mine| SharedSegments::new(membership.me, mine, segments));
        let core = Arc::new(Core::new(membership, deadlines, links, segments));
        let mut plane = DataPlane {
            core,
            readers: Vec::new(),
        };
        for (peer, link, half) in halves {
            let core = plane.core.clone();
            let name = format!("data-plane-{}", peer.0);
            let reader = thread::Builder::new()
                .name(name)
                .spawn(move || read_frames(&core, &link, half));
            let failed = |error| CollectiveError::io(format!("start the reader of {peer}"), error);
            plane.readers.push(reader.map_err(failed)?);
        }
        Ok(plane)
    }

    /// A handle for the thread that serves `shard`.
    ///
    /// # Errors
    /// `NotServed` when another worker serves it, or none.
    pub fn rank(&self, shard: Shard) -> Result<Rank, CollectiveError> {
        let me = self.core.membership.me;
        match self.core.membership.worker_of(shard) {
            Some(worker) if worker == me => Ok(Rank::new(self.core.clone(), shard)),
            _ => Err(CollectiveError::NotServed { shard, me }),
        }
    }

    /// The membership it was formed for.
    pub fn membership(&self) -> &Membership {
        &self.core.membership
    }

    /// Breaks the plane on all workers; whoever waits returns at once. The first cause stays.
    pub fn abort(&self, cause: AbortCause) {
        self.core.fail(CollectiveError::Aborted { cause });
    }

    /// Why the plane is broken, if it is.
    pub fn fault(&self) -> Option<CollectiveError> {
        self.core.fault().cloned()
    }

    /// What it has done so far.
    pub fn stats(&self) -> PlaneStats {
        self.core.counters.snapshot()
    }

    /// To watch it from outside.
    pub fn meter(&self) -> Meter {
        Meter(self.core.counters.clone())
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.core.fail(CollectiveError::Closed);
        for link in self.core.links.iter().flatten() {
            // Another thread may be telling the peers of an earlier fault.
            link.end_writing(LAST_WORDS);
            link.shut();
        }
        let running = std::mem::take(&mut *lock(&self.core.running));
        for thread in self.readers.drain(..).chain(running) {
            // A panic there has been reported on its own thread.
            let _ = thread.join();
        }
    }
}

/// What this worker's peers may read in its memory; none where they are to read nothing, or cannot.
fn own_segment(listener: &DataPlaneListener, membership: &Membership) -> Option<Arc<SharedSegment>> {
    if membership.encrypted || membership.workers.len() == 1 {
        return None;
    }
    let sharing = listener.state.lock().sharing;
    let mark = nonce().ok()?;
    match SharedSegment::create(membership.workers.len(), sharing, mark) {
        Ok(segment) => segment,
        Err(error) => {
            tracing::debug!(%error, "all payloads go over connections: there is no memory to share");
            None
        }
    }
}

/// Starts a thread for every worker above this one; the outcome goes into the listener's state.
fn dial_all(
    listener: &DataPlaneListener,
    membership: &Arc<Membership>,
    segment: Option<&Arc<SharedSegment>>,
    deadlines: PlaneDeadlines,
    start: Instant,
) -> Result<(), CollectiveError> {
    for peer in membership.me.0 + 1..membership.workers.len() as u32 {
        let (state, membership, peer) = (listener.state.clone(), membership.clone(), WorkerIndex(peer));
        let segment = segment.cloned();
        let name = format!("data-plane-dial-{}", peer.0);
        let dialler = thread::Builder::new().name(name).spawn(move || {
            let Some(outcome) = dial(&state, &membership, segment.as_deref(), peer, deadlines, start) else {
                return;
            };
            drop(segment);
            state.update(|state| {
                if state.forms(&membership) {
                    state.dialled.insert(peer, outcome);
                }
            });
        });
        dialler.map_err(|error| CollectiveError::io(format!("start the dialler of {peer}"), error))?;
    }
    Ok(())
}

/// Tries to reach `peer` until the deadline; none when the generation is no longer being formed.
fn dial(
    state: &Gate<ListenerState>,
    membership: &Arc<Membership>,
    segment: Option<&SharedSegment>,
    peer: WorkerIndex,
    deadlines: PlaneDeadlines,
    start: Instant,
) -> Option<Result<PeerStream, HandshakeError>> {
    let tls = state.lock().tls.clone();
    let address = membership.workers[peer.0 as usize].address.clone();
    let mut pause = PAUSES.0;
    loop {
        let left = deadlines.connect.saturating_sub(start.elapsed());
        let limit = deadlines.handshake.min(left);
        let last = match attempt(membership, (tls.as_ref(), segment), peer, &address, limit) {
            Ok(stream) => return Some(Ok(stream)),
            Err(ReplyError::Refusal(HandshakeError::NotYet { got })) => HandshakeError::NotYet { got },
            Err(ReplyError::Refusal(cause)) => {
                let cause = Arc::new(cause);
                return Some(Err(HandshakeError::Refused {
                    worker: peer,
                    address,
                    cause,
                }));
            }
            Err(ReplyError::Failed(cause)) => cause,
        };
        let waited = start.elapsed();
        if waited + pause >= deadlines.connect {
            return Some(Err(HandshakeError::Unreachable {
                worker: peer,
                address,
                waited,
                last: Arc::new(last),
            }));
        }
        let (given_up, _) = state.wait(pause, |state| (!state.forms(membership)).then_some(()));
        if given_up.is_some() {
            return None;
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

fn attempt(
    membership: &Membership,
    (tls, segment): (Option<&Tls>, Option<&SharedSegment>),
    peer: WorkerIndex,
    address: &str,
    limit: Duration,
) -> Result<PeerStream, ReplyError> {
    let start = Instant::now();
    let failed = |what: &'static str| {
        move |error| {
            ReplyError::Failed(HandshakeError::Io {
                what,
                source: Arc::new(error),
            })
        }
    };
    let mut outcome = Err(failed("resolve the address")(std::io::ErrorKind::NotFound.into()));
    for address in address.to_socket_addrs().map_err(failed("resolve the address"))? {
        let left = limit
            .saturating_sub(start.elapsed())
            .max(Duration::from_millis(1));
        outcome = TcpStream::connect_timeout(&address, left).map_err(failed("connect"));
        if outcome.is_ok() {
            break;
        }
    }
    let stream = outcome?;
    stream.set_nodelay(true).map_err(failed("set up the socket"))?;
    let mut connection = HandshakeConnection::new(stream, limit.saturating_sub(start.elapsed()));
    if membership.encrypted {
        let tls = tls.ok_or(ReplyError::Refusal(HandshakeError::NoCredentials))?;
        connection.encrypt(tls).map_err(distrusts)?;
    }
    connection
        .introduce(membership, peer, segment)
        .map_err(|error| match error {
            ReplyError::Failed(cause) => distrusts(cause),
            refusal => refusal,
        })?;
    Ok(connection.into_stream())
}

/// No further attempt makes one side believe the other.
fn distrusts(error: HandshakeError) -> ReplyError {
    match error {
        HandshakeError::Untrusted { .. } => ReplyError::Refusal(error),
        other => ReplyError::Failed(other),
    }
}

/// Waits until every peer has arrived or been reached.
fn await_peers(
    state: &Gate<ListenerState>,
    membership: &Arc<Membership>,
    limit: Duration,
    start: Instant,
) -> Result<Vec<(WorkerIndex, PeerStream)>, CollectiveError> {
    let me = membership.me.0;
    let lower: Vec<WorkerIndex> = (0..me).map(WorkerIndex).collect();
    let higher: Vec<WorkerIndex> = (me + 1..membership.workers.len() as u32)
        .map(WorkerIndex)
        .collect();
    // A dialler gives up at the same moment and knows better why.
    let limit = limit.saturating_sub(start.elapsed()) + Duration::from_millis(50);
    let (outcome, waited) = state.wait(limit, |state| {
        if !state.forms(membership) {
            let (got, current) = (membership.generation, state.current(membership));
            return Some(Err(match got == current {
                true => HandshakeError::Abandoned { got },
                false => HandshakeError::StaleGeneration { got, current },
            }));
        }
        if let Some(error) = state.dialled.values().find_map(|outcome| outcome.as_ref().err()) {
            return Some(Err(error.clone()));
        }
        let complete = lower.iter().all(|peer| state.arrived.contains_key(peer))
            && higher.iter().all(|peer| state.dialled.contains_key(peer));
        if !complete {
            return None;
        }
        let arrived = state.arrived.drain();
        let reached = state
            .dialled
            .drain()
            .filter_map(|(peer, stream)| Some((peer, stream.ok()?)));
        Some(Ok(arrived.chain(reached).collect()))
    });
    let missing = || {
        let state = state.lock();
        let absent = lower.iter().find(|peer| !state.arrived.contains_key(peer));
        let silent = higher.iter().find(|peer| !state.dialled.contains_key(peer));
        let worker = absent.or(silent).copied().unwrap_or(membership.me);
        HandshakeError::Absent { worker, waited }
    };
    Ok(outcome.unwrap_or_else(|| Err(missing()))?)
}
