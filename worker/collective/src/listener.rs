//! The listener of a worker process: accepts connections for its whole life, for one generation after another.
//!
//! Each caller is received on a thread of its own, so that one that says nothing keeps nobody else
//! waiting; of those that have proved nothing, the one here for longest makes room where there are too many
//! (`ulda_net::Admission`). Callers for a generation this worker has not been told of are kept waiting a little, then asked
//! to try again. Invariant: only authenticated connections of the generation being formed reach the plane.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ulda_net::{Admission, AdmissionCaps, AdmittedConnection};
use ulda_run::ids::Generation;

use crate::error::{CollectiveError, HandshakeError};
use crate::handshake::{HandshakeConnection, Hello, PeerStream};
use crate::membership::{Membership, WorkerIndex};
use crate::seal::Tls;
use crate::segment::{SharedSegment, Sharing};
use crate::wait::Gate;

/// Refusals kept for whoever asks.
const REFUSALS: usize = 64;
/// How long a caller has for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A connection that was not let in.
#[derive(Clone, Debug)]
pub struct RefusedPeer {
    /// Where it came from.
    pub address: SocketAddr,
    /// What it claimed to be, if it came to that.
    pub claim: Option<String>,
    /// Why it was refused.
    pub cause: HandshakeError,
}

/// Accepts the data-plane connections of one process.
pub struct DataPlaneListener {
    address: SocketAddr,
    socket: TcpListener,
    pub(crate) state: Arc<Gate<ListenerState>>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the forming of a generation has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormingPhase {
    Forming,
    Formed,
    Abandoned,
}

/// The generation callers are let in for.
pub(crate) struct ListenedGeneration {
    pub membership: Arc<Membership>,
    /// What peers on this host may read; none where nothing is shared.
    pub segment: Option<Arc<SharedSegment>>,
    pub phase: FormingPhase,
}

/// Hears of each refusal as it happens.
type RefusalObserver = Box<dyn Fn(&RefusedPeer) + Send>;

#[derive(Default)]
pub(crate) struct ListenerState {
    pub listened: Option<ListenedGeneration>,
    pub arrived: HashMap<WorkerIndex, PeerStream>,
    /// What this worker's own dialling has come to.
    pub dialled: HashMap<WorkerIndex, Result<PeerStream, HandshakeError>>,
    /// What this worker shows, and whom it believes.
    pub tls: Option<Tls>,
    pub sharing: Sharing,
    on_refusal: Option<RefusalObserver>,
    refusals: VecDeque<RefusedPeer>,
    closed: bool,
}

impl ListenerState {
    /// Whether `generation` of this membership is the one being formed.
    pub fn forms(&self, membership: &Arc<Membership>) -> bool {
        let listened = self.listened.as_ref();
        listened.is_some_and(|listened| {
            Arc::ptr_eq(&listened.membership, membership) && listened.phase == FormingPhase::Forming
        })
    }

    /// This worker's segment for `membership`.
    fn segment(&self, membership: &Arc<Membership>) -> Option<Arc<SharedSegment>> {
        let listened = self.listened.as_ref()?;
        let known = Arc::ptr_eq(&listened.membership, membership);
        known.then(|| listened.segment.clone()).flatten()
    }

    /// The generation that has taken the place of `membership`.
    pub fn current(&self, membership: &Membership) -> Generation {
        self.listened
            .as_ref()
            .map_or(membership.generation, |listened| listened.membership.generation)
    }

    /// Whom a caller may speak to; none while that is not known yet.
    fn receive(&self, hello: &Hello, encrypted: bool) -> Option<Result<Arc<Membership>, HandshakeError>> {
        let listened = self.listened.as_ref()?;
        let known = &listened.membership;
        let got = hello.generation;
        let current = known.generation;
        let comes_later = hello.run == known.run && got > current;
        if encrypted != known.encrypted && !comes_later {
            return Some(Err(match known.encrypted {
                true => HandshakeError::NotEncrypted { current },
                false => HandshakeError::Encrypted { current },
            }));
        }
        if hello.run != known.run {
            let (got, current) = (hello.run.clone(), known.run.clone());
            return Some(Err(HandshakeError::WrongRun { got, current }));
        }
        if got > current {
            return None;
        }
        if got < current {
            return Some(Err(HandshakeError::StaleGeneration { got, current }));
        }
        if hello.to != known.me {
            return Some(Err(HandshakeError::WrongDestination {
                got: hello.to,
                me: known.me,
            }));
        }
        // The lower index dials the higher.
        if hello.from >= known.me {
            let workers = known.workers.len() as u32;
            return Some(Err(HandshakeError::UnknownWorker {
                got: hello.from,
                me: known.me,
                workers,
            }));
        }
        Some(match listened.phase {
            FormingPhase::Forming => Ok(known.clone()),
            FormingPhase::Formed => Err(HandshakeError::AlreadyConnected { got: hello.from }),
            FormingPhase::Abandoned => Err(HandshakeError::Abandoned { got }),
        })
    }

    fn note(&mut self, refusal: RefusedPeer) {
        if let Some(observe) = &self.on_refusal {
            observe(&refusal);
        }
        if self.refusals.len() == REFUSALS {
            self.refusals.pop_front();
        }
        self.refusals.push_back(refusal);
    }
}

impl DataPlaneListener {
    /// Listens on `address`; port 0 means any free port.
    ///
    /// # Errors
    /// `Io` when the address cannot be had.
    pub fn bind(address: impl ToSocketAddrs) -> Result<DataPlaneListener, CollectiveError> {
        DataPlaneListener::bind_with(address, HANDSHAKE)
    }

    /// Like [`bind`](Listener::bind), and a caller has `handshake` to prove itself.
    ///
    /// # Errors
    /// `Io` when the address cannot be had.
    pub fn bind_with(
        address: impl ToSocketAddrs,
        handshake: Duration,
    ) -> Result<DataPlaneListener, CollectiveError> {
        let failed = |error| CollectiveError::io("listen for the data plane", error);
        let socket = TcpListener::bind(address).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let accepting = socket.try_clone().map_err(failed)?;
        let state = Arc::new(Gate::new(ListenerState::default()));
        let acceptor = thread::Builder::new().name("plane-acceptor".into()).spawn({
            let state = state.clone();
            move || accept(&accepting, &state, handshake)
        });
        let acceptor = Some(acceptor.map_err(failed)?);
        Ok(DataPlaneListener {
            address,
            socket,
            state,
            acceptor,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Encrypts the connections of generations whose membership says so.
    pub fn use_tls(&self, tls: Tls) {
        self.state.update(|state| state.tls = Some(tls));
    }

    /// What generations formed from now on share with workers on this host; long payloads where nothing was said.
    /// Encrypted ones share nothing.
    pub fn share(&self, sharing: Sharing) {
        self.state.update(|state| state.sharing = sharing);
    }

    /// Calls `observe` for each connection that is refused from now on; it must not wait for anything.
    pub fn on_refusal(&self, observe: impl Fn(&RefusedPeer) + Send + 'static) {
        self.state
            .update(|state| state.on_refusal = Some(Box::new(observe)));
    }

    /// The latest connections refused, oldest first; forgets them.
    pub fn drain_refusals(&self) -> Vec<RefusedPeer> {
        self.state.lock().refusals.drain(..).collect()
    }

    /// Gives up forming, if a generation is being formed; `DataPlane::connect` on another thread then ends with
    /// `Abandoned` at once.
    pub fn abandon(&self) {
        self.state.update(|state| {
            if let Some(listened) = &mut state.listened
                && listened.phase == FormingPhase::Forming
            {
                listened.phase = FormingPhase::Abandoned;
            }
        });
    }

    /// Lets callers in for `membership` from now on.
    pub(crate) fn listen_for(
        &self,
        membership: &Arc<Membership>,
        segment: Option<&Arc<SharedSegment>>,
    ) -> Result<(), HandshakeError> {
        let got = membership.generation;
        self.state.update(|state| {
            if let Some(ListenedGeneration {
                membership: known, ..
            }) = &state.listened
                && known.run == membership.run
                && known.generation >= got
            {
                return Err(HandshakeError::StaleGeneration {
                    got,
                    current: known.generation,
                });
            }
            state.listened = Some(ListenedGeneration {
                membership: membership.clone(),
                segment: segment.cloned(),
                phase: FormingPhase::Forming,
            });
            state.arrived.clear();
            state.dialled.clear();
            Ok(())
        })
    }
}

impl Drop for DataPlaneListener {
    fn drop(&mut self) {
        self.state.update(|state| state.closed = true);
        // SAFETY: the descriptor is open as long as `self.socket`. On Linux this wakes the thread that
        // accepts.
        unsafe { libc::shutdown(self.socket.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(acceptor) = self.acceptor.take() {
            // A panic there has been reported on its own thread.
            let _ = acceptor.join();
        }
    }
}

fn accept(socket: &TcpListener, state: &Arc<Gate<ListenerState>>, handshake: Duration) {
    let admission = Admission::new("data plane", AdmissionCaps::of_process());
    loop {
        let caller = socket.accept();
        if state.lock().closed {
            return;
        }
        let (stream, address) = match caller {
            Ok(caller) => caller,
            Err(error) => {
                // Out of descriptors, or the caller has hung up: others may still get through, after a
                // breath.
                if !matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                ) {
                    let (closed, _) =
                        state.wait(Duration::from_millis(50), |state| state.closed.then_some(()));
                    if closed.is_some() {
                        return;
                    }
                }
                continue;
            }
        };
        let stream = Arc::new(stream);
        let held = Arc::downgrade(&stream);
        let close = move || {
            if let Some(stream) = held.upgrade() {
                // An error means that the caller is gone already.
                let _ = stream.shutdown(Shutdown::Both);
            }
        };
        let Some(admitted) = admission.admit(address.ip(), close) else {
            continue;
        };
        let received = thread::Builder::new().name("data-plane-caller".into()).spawn({
            let state = state.clone();
            move || receive(&state, stream, admitted, address, handshake)
        });
        if received.is_err() {
            let pending = admission.count();
            state.update(|state| {
                state.note(RefusedPeer {
                    address,
                    claim: None,
                    cause: HandshakeError::Crowded { pending },
                });
            });
        }
    }
}

fn receive(
    state: &Gate<ListenerState>,
    stream: Arc<TcpStream>,
    admitted: AdmittedConnection,
    address: SocketAddr,
    handshake: Duration,
) {
    let mut connection = HandshakeConnection::new(stream, handshake);
    let mut claim = None;
    let outcome = shake_hands(state, &mut connection, handshake, &mut claim);
    // From here on nobody closes the connection for another one, which may have happened since its last message.
    let outcome = match (outcome, admitted.release()) {
        (Ok(_), false) => Err(HandshakeError::Crowded {
            pending: admitted.count(),
        }),
        (outcome, _) => outcome,
    };
    match outcome {
        Ok((membership, from)) => state.update(|state| {
            if state.forms(&membership) {
                state.arrived.insert(from, connection.into_stream());
            }
        }),
        Err(cause) => {
            // Noted first: whoever hears of a refusal finds it here.
            state.update(|state| {
                state.note(RefusedPeer {
                    address,
                    claim,
                    cause: cause.clone(),
                })
            });
            connection.refuse(&cause);
        }
    }
}

fn shake_hands(
    state: &Gate<ListenerState>,
    connection: &mut HandshakeConnection,
    handshake: Duration,
    claim: &mut Option<String>,
) -> Result<(Arc<Membership>, WorkerIndex), HandshakeError> {
    let start = Instant::now();
    let encrypted = connection.is_tls()?;
    if encrypted {
        let tls = state.lock().tls.clone();
        connection.decrypt(&tls.ok_or(HandshakeError::NotOurProtocol)?)?;
    }
    let (hello, words) = connection.read_hello()?;
    *claim = Some(hello.to_string());
    // Half of the time is left for the rest of the conversation.
    let patience = (handshake / 2).saturating_sub(start.elapsed());
    let (received, _) = state.wait(patience, |state| match state.closed {
        true => Some(Err(HandshakeError::NotYet {
            got: hello.generation,
        })),
        false => state.receive(&hello, encrypted),
    });
    let membership = received.unwrap_or(Err(HandshakeError::NotYet {
        got: hello.generation,
    }))?;
    connection.challenge(&membership.secret, &words)?;
    let segment = state.lock().segment(&membership);
    connection.welcome(&membership, segment.as_deref())?;
    Ok((membership, hello.from))
}
