//! The connection to the coordinator.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use ulda_proto::v1;
use ulda_run::Exit;
use ulda_run::ids::{Generation, WorkerId};
use ulda_run::spec::{Host, RunConfig, RunSpec};

use super::connect::{Backoff, CoordinatorLink, RPC_DEADLINE, Switchboard, is_passing, join, way};
use super::error::AgentError;
use super::facts::{Fact, heartbeat};
use super::introduction::Introduction;
use super::lines;
use super::orders::Order;
use super::reports;
use crate::progress::Report;

/// Longest wait for the last facts to leave when the worker ends.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(15);
const OUTBOX: usize = 64;
/// Shortest and longest time between two heartbeats.
const HEARTBEATS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));
/// Terms and generations beyond it are no run's.
const MOST_NUMBER: u64 = 1 << 53;

/// What a worker learns on joining.
#[derive(Clone, Debug)]
pub struct Joined {
    pub worker: WorkerId,
    pub spec: RunSpec,
    pub run_directory: PathBuf,
    pub secret: [u8; 32],
    /// W3C traceparent of the run's span; empty where the run is not traced.
    pub trace_parent: String,
}

/// The trainer's end of the control plane. Dropping it ends the stream and waits, within a deadline, until all was delivered.
pub struct Agent {
    pub orders: Receiver<Order>,
    facts: Option<mpsc::UnboundedSender<Fact>>,
    reports: Option<mpsc::UnboundedSender<(Generation, Report)>>,
    /// The worker ends: what is left of its log is sent.
    ending: CancellationToken,
    log: Option<tokio::task::JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Agent {
    /// Joins the run and starts attending. Heartbeats flow from here on.
    ///
    /// # Errors
    /// When no coordinator answers in time, or it refuses.
    pub fn start(introduction: &Introduction) -> Result<(Self, Joined), AgentError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("agent")
            .enable_all()
            .build()
            .map_err(AgentError::Runtime)?;
        let way = way(introduction)?;
        let mut terminate = {
            let _inside = runtime.enter();
            signal(SignalKind::terminate()).map_err(AgentError::Runtime)?
        };
        let (client, reply) = runtime.block_on(async {
            tokio::select! {
                biased;
                _ = terminate.recv() => leave_before_joining(),
                joined = join(introduction, &way) => joined,
            }
        })?;
        let heartbeat_every = Duration::from_millis(reply.heartbeat_millis).clamp(HEARTBEATS.0, HEARTBEATS.1);
        let term = reply.coordinator_term;
        let keeps_log = reply.keeps_log;
        let joined = Joined::from_wire(reply)?;
        let (order_sender, orders) = crossbeam_channel::unbounded();
        let (facts, fact_inbox) = mpsc::unbounded_channel();
        let (reports, report_inbox) = mpsc::unbounded_channel();
        let (switchboard, line) = Switchboard::new(
            &introduction.coordinator,
            &joined.run_directory,
            way,
            client,
            joined.worker,
        );
        let deadline = &joined.spec.config().deadline;
        let session = AttendSession {
            introduction: introduction.clone(),
            line: line.clone(),
            switchboard,
            alone: Duration::from_secs_f64(deadline.coordinator),
            fencing: Duration::from_secs_f64(deadline.form),
            worker: joined.worker,
            shards: joined.spec.shards(),
            secret: joined.secret,
            term,
            heartbeat_every,
            orders: order_sender,
            facts: fact_inbox,
            generation: Generation::NONE,
            ready: None,
            standing: None,
        };
        let (span, ending) = (tracing::Span::current(), CancellationToken::new());
        span.record("worker", joined.worker.0);
        let tasks = vec![
            runtime.spawn(session.attend(terminate).instrument(span.clone())),
            runtime.spawn(reports::deliver(line.clone(), report_inbox).instrument(span)),
        ];
        let outbox = crate::logs::outbox();
        let log = keeps_log.then(|| {
            let sending = lines::send(line, outbox.clone(), ending.clone());
            runtime.spawn(sending)
        });
        if !keeps_log {
            outbox.close();
        }
        Ok((
            Self {
                orders,
                facts: Some(facts),
                reports: Some(reports),
                ending,
                log,
                tasks,
                runtime: Some(runtime),
            },
            joined,
        ))
    }

    pub fn tell(&self, fact: Fact) {
        if let Some(facts) = &self.facts {
            // The session may be gone, which is told by an order.
            let _ = facts.send(fact);
        }
    }

    pub fn report(&self, generation: Generation, report: Report) {
        if let Some(reports) = &self.reports {
            let _ = reports.send((generation, report));
        }
    }

    /// For other threads; does not keep the agent from ending.
    #[must_use]
    pub fn reporter(&self) -> Option<Reporter> {
        Some(Reporter {
            facts: self.facts.as_ref()?.downgrade(),
            reports: self.reports.as_ref()?.downgrade(),
        })
    }
}

/// Tells and reports from other threads for as long as the agent lives.
#[derive(Clone, Debug)]
pub struct Reporter {
    facts: mpsc::WeakUnboundedSender<Fact>,
    reports: mpsc::WeakUnboundedSender<(Generation, Report)>,
}

impl Reporter {
    pub fn tell(&self, fact: Fact) {
        if let Some(facts) = self.facts.upgrade() {
            let _ = facts.send(fact);
        }
    }

    pub fn report(&self, report: Report) {
        if let Some(reports) = self.reports.upgrade() {
            let _ = reports.send((Generation::NONE, report));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        self.ending.cancel();
        if let Some(log) = self.log.take() {
            // Before the stream ends, which is the coordinator's leave to end, too.
            let _ = runtime.block_on(async { tokio::time::timeout(FAREWELL_DEADLINE, log).await });
        }
        self.facts = None;
        self.reports = None;
        let tasks = std::mem::take(&mut self.tasks);
        runtime.block_on(async {
            let all = async {
                for task in tasks {
                    let _ = task.await;
                }
            };
            if tokio::time::timeout(FAREWELL_DEADLINE, all).await.is_err() {
                tracing::warn!(
                    seconds = FAREWELL_DEADLINE.as_secs(),
                    "last reports were not delivered in time"
                );
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

impl Joined {
    fn from_wire(reply: v1::JoinReply) -> Result<Self, AgentError> {
        let bad = |what: String| AgentError::BadReply(what);
        // Without the text around it, which may be of any length.
        let config: RunConfig =
            toml::from_str(&reply.spec_toml).map_err(|error| bad(error.message().to_owned()))?;
        // Nothing is left open in a resolved run.toml, so the host given here decides nothing.
        let spec = RunSpec::resolve(config, Host { workers: 1, cores: 1 })
            .map_err(|error| bad(error.to_string()))?;
        let secret = <[u8; 32]>::try_from(reply.data_secret.as_slice()).map_err(|_| {
            bad(format!(
                "data secret of {} bytes, expected 32",
                reply.data_secret.len()
            ))
        })?;
        Ok(Self {
            worker: WorkerId(reply.worker),
            spec,
            run_directory: reply.run_directory.into(),
            trace_parent: reply.trace_parent,
            secret,
        })
    }
}

/// The first process of a container gets no signal that it does not listen to, and a coordinator may be looked
/// for, and weights loaded, for minutes.
fn leave_before_joining() -> ! {
    tracing::info!(why = "SIGTERM", "leaving before the run was joined");
    std::process::exit(i32::from(Exit::Terminated));
}

/// What is waited for; `None` where SIGTERM comes first.
async fn or_term<T>(terminate: &mut Signal, waited_for: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = terminate.recv() => None,
        done = waited_for => Some(done),
    }
}

/// Owner of the attend stream.
pub(super) struct AttendSession {
    pub(super) introduction: Introduction,
    pub(super) line: CoordinatorLink,
    pub(super) switchboard: Switchboard,
    /// How long the worker goes on without a coordinator.
    pub(super) alone: Duration,
    /// Longest wait for the trainer to leave its generation.
    pub(super) fencing: Duration,
    pub(super) worker: WorkerId,
    /// Of the run.
    pub(super) shards: u32,
    pub(super) secret: [u8; 32],
    /// Highest term of a coordinator heard of; none of a lower one is obeyed.
    pub(super) term: u64,
    pub(super) heartbeat_every: Duration,
    pub(super) orders: Sender<Order>,
    pub(super) facts: mpsc::UnboundedReceiver<Fact>,
    pub(super) generation: Generation,
    /// Repeated on every further stream, in this order.
    pub(super) ready: Option<Fact>,
    pub(super) standing: Option<Fact>,
}

/// What came of joining again.
pub(super) enum Again {
    Joined,
    TrainerEnded,
}

enum Ended {
    /// The trainer ended, and the coordinator has all facts.
    Delivered,
    Lost(String),
    /// The coordinator does not count this worker among the run's any more.
    Unknown(String),
    Refused(String),
}

impl AttendSession {
    async fn attend(mut self, mut terminate: Signal) {
        let mut unsent = None;
        let mut lost_since: Option<Instant> = None;
        let mut backoff = Backoff::new();
        loop {
            let attended_from = Instant::now();
            match self.attend_once(&mut terminate, &mut unsent).await {
                Ended::Delivered => return,
                Ended::Refused(why) => return self.order(Order::Orphaned { why }),
                Ended::Unknown(why) => match or_term(&mut terminate, self.join_again(&why)).await {
                    None => return self.leave(terminate).await,
                    Some(Ok(Again::Joined)) => (lost_since, backoff, unsent) = (None, Backoff::new(), None),
                    Some(Ok(Again::TrainerEnded)) => return,
                    Some(Err(why)) => return self.order(Order::Orphaned { why }),
                },
                Ended::Lost(why) => {
                    if attended_from.elapsed() > RPC_DEADLINE {
                        lost_since = None;
                        backoff = Backoff::new();
                    }
                    let since = *lost_since.get_or_insert_with(|| {
                        tracing::warn!(why, "coordinator lost; training goes on");
                        Instant::now()
                    });
                    self.switchboard.look_around(since.elapsed());
                    if since.elapsed() > self.alone {
                        let waited = since.elapsed().as_secs();
                        return self.order(Order::Orphaned {
                            why: format!("coordinator unreachable for {waited} s: {why}"),
                        });
                    }
                    if or_term(&mut terminate, backoff.pause()).await.is_none() {
                        self.terminated();
                    }
                }
            }
        }
    }

    /// After SIGTERM while nobody could be told: the trainer keeps its state on disk and ends.
    async fn leave(mut self, mut terminate: Signal) {
        self.terminated();
        loop {
            match or_term(&mut terminate, self.facts.recv()).await {
                None => self.terminated(),
                Some(Some(_)) => {}
                Some(None) => return,
            }
        }
    }

    async fn attend_once(&mut self, terminate: &mut Signal, unsent: &mut Option<Fact>) -> Ended {
        let (outbox, inbox) = mpsc::channel(OUTBOX);
        let opening = [heartbeat(self.worker, self.generation, self.term)].into_iter();
        let remembered = [&self.ready, &self.standing].into_iter().flatten().cloned();
        for wire in opening.chain(remembered.map(|fact| fact.into_wire(self.worker))) {
            // The outbox is empty and has room for all of them.
            let _ = outbox.try_send(wire);
        }
        let mut client = self.line.client();
        let opening = tokio::time::timeout(RPC_DEADLINE, client.attend(ReceiverStream::new(inbox)));
        tokio::pin!(opening);
        let opening = loop {
            match or_term(terminate, &mut opening).await {
                Some(opened) => break opened,
                None => self.terminated(),
            }
        };
        let mut directives = match opening {
            Err(_) => return Ended::Lost(format!("no answer to attend within {} s", RPC_DEADLINE.as_secs())),
            Ok(Err(status)) if is_passing(&status) => return Ended::Lost(status.message().to_owned()),
            Ok(Err(status)) if status.code() == tonic::Code::NotFound => {
                return Ended::Unknown(status.message().to_owned());
            }
            Ok(Err(status)) => return Ended::Refused(status.message().to_owned()),
            Ok(Ok(reply)) => reply.into_inner(),
        };
        let mut beat = tokio::time::interval(self.heartbeat_every);
        loop {
            if let Some(fact) = unsent.take() {
                let wire = fact.clone().into_wire(self.worker);
                if !matches!(
                    tokio::time::timeout(RPC_DEADLINE, outbox.send(wire)).await,
                    Ok(Ok(()))
                ) {
                    *unsent = Some(fact);
                    return Ended::Lost("attend stream takes no more facts".to_owned());
                }
            }
            tokio::select! {
                biased;
                _ = terminate.recv() => self.terminated(),
                directive = directives.message() => match directive {
                    Ok(Some(directive)) => match self.of_its_time(&directive) {
                        Ok(()) => self.directive(directive),
                        Err(stale) => return Ended::Lost(stale),
                    },
                    Ok(None) => return Ended::Lost("the coordinator closed the stream".to_owned()),
                    Err(status) => return Ended::Lost(status.message().to_owned()),
                },
                fact = self.facts.recv() => match fact {
                    Some(fact) => {
                        self.remember(&fact);
                        *unsent = Some(fact);
                    }
                    None => {
                        drop(outbox);
                        return Self::drained(directives).await;
                    }
                },
                _ = beat.tick() => {
                    let _ = outbox.try_send(heartbeat(self.worker, self.generation, self.term));
                }
            }
        }
    }

    fn remember(&mut self, fact: &Fact) {
        if matches!(fact, Fact::Ready { .. }) {
            self.ready = Some(fact.clone());
        } else if fact.is_standing() {
            self.standing = Some(fact.clone());
        }
    }

    /// The stream's end is the coordinator's word that it has read all that came before.
    async fn drained(mut directives: tonic::Streaming<v1::Directive>) -> Ended {
        let end = async { while let Ok(Some(_)) = directives.message().await {} };
        let _ = tokio::time::timeout(Duration::from_secs(3), end).await;
        Ended::Delivered
    }

    /// Refuses a coordinator that has a successor and does not know it.
    fn of_its_time(&mut self, directive: &v1::Directive) -> Result<(), String> {
        let (got, current) = (directive.coordinator_term, self.term);
        if got.max(directive.generation) > MOST_NUMBER {
            let generation = directive.generation;
            return Err(format!(
                "an order names term {got} and generation {generation}, which no run reaches"
            ));
        }
        if got < current {
            tracing::warn!(got, current, "order of a stale coordinator refused");
            return Err(format!(
                "a coordinator of term {got} gives orders, but one of term {current} was heard of"
            ));
        }
        self.term = got;
        Ok(())
    }

    fn directive(&mut self, directive: v1::Directive) {
        let stops = matches!(directive.order, Some(v1::directive::Order::Stop(_)));
        let generation = Generation(directive.generation);
        if generation < self.generation && !stops {
            tracing::warn!(
                got = generation.0,
                current = self.generation.0,
                "directive of an older generation refused"
            );
            return;
        }
        self.generation = self.generation.max(generation);
        match Order::from_wire(directive, self.worker, self.shards) {
            Ok(Order::Stop { drain, why, exit }) => {
                self.leave_if_loading(&why, exit);
                self.order(Order::Stop { drain, why, exit });
            }
            Ok(order) => self.order(order),
            Err(error) => tracing::error!(%error, "directive not understood"),
        }
    }

    fn terminated(&self) {
        static ASKED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        if ASKED.swap(true, std::sync::atomic::Ordering::SeqCst) {
            tracing::warn!("second SIGTERM: leaving at once");
            std::process::exit(i32::from(Exit::Terminated));
        }
        self.leave_if_loading("SIGTERM", Exit::Terminated);
        self.order(Order::Stop {
            drain: true,
            why: "SIGTERM".to_owned(),
            exit: Exit::Terminated,
        });
    }

    /// A worker that still loads has nothing to hand over, and loading may take minutes.
    fn leave_if_loading(&self, why: &str, exit: Exit) {
        if self.ready.is_none() {
            tracing::info!(why, "leaving while loading");
            std::process::exit(i32::from(exit));
        }
    }

    pub(super) fn order(&self, order: Order) {
        // The trainer may have ended already.
        let _ = self.orders.send(order);
    }
}
