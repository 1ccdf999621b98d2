//! The connection to the coordinator.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use ulda_core::ids::Generation;
use ulda_core::spec::{Host, RunConfig, RunSpec};
use ulda_proto::v1;

use super::connect::{Backoff, Line, RPC_DEADLINE, Switchboard, is_passing, join};
use super::facts::{Fact, Report, heartbeat};
use super::lines;
use super::orders::Order;
use super::reports;

/// Longest wait for the last facts to leave when the worker ends.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(15);
const OUTBOX: usize = 64;

/// How a worker presents itself.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// `http://host:port` of the coordinator.
    pub coordinator: String,
    pub run: String,
    pub slot: u32,
    pub data_address: String,
    pub device: String,
    /// host:port where this worker serves its metrics.
    pub metrics_address: Option<String>,
}

/// What a worker learns on joining.
#[derive(Clone, Debug)]
pub struct Joined {
    pub worker: u64,
    pub spec: RunSpec,
    pub run_directory: PathBuf,
    pub secret: [u8; 32],
    /// W3C traceparent of the run's span; empty where the run is not traced.
    pub trace_parent: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("`{0}` is not a coordinator's address; hint: it looks like http://10.0.0.1:7070")]
    Address(String),
    #[error("no coordinator answered at {address} within {} s: {last}", waited.as_secs())]
    Unreachable {
        address: String,
        waited: Duration,
        last: String,
    },
    #[error("the coordinator refused this worker: {0}")]
    Refused(String),
    #[error("the coordinator's answer is unusable: {0}")]
    BadReply(String),
    #[error("the agent's runtime cannot start")]
    Runtime(#[source] std::io::Error),
}

/// The trainer's end of the control plane. Dropping it says farewell and waits, within a deadline, until all was delivered.
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
        let (client, reply) = runtime.block_on(join(introduction))?;
        let heartbeat_every = Duration::from_millis(reply.heartbeat_millis.max(50));
        let keeps_log = reply.keeps_log;
        let joined = Joined::from_wire(reply)?;
        let (order_sender, orders) = crossbeam_channel::unbounded();
        let (facts, fact_inbox) = mpsc::unbounded_channel();
        let (reports, report_inbox) = mpsc::unbounded_channel();
        let (switchboard, line) = Switchboard::new(&introduction.coordinator, &joined.run_directory, client);
        let alone = Duration::from_secs_f64(joined.spec.config().deadline.coordinator);
        let session = Session {
            line: line.clone(),
            switchboard,
            alone,
            worker: joined.worker,
            heartbeat_every,
            orders: order_sender,
            facts: fact_inbox,
            generation: 0,
            ready: None,
            standing: None,
        };
        let (span, ending) = (tracing::Span::current(), CancellationToken::new());
        span.record("worker", joined.worker);
        let tasks = vec![
            runtime.spawn(session.attend().instrument(span.clone())),
            runtime.spawn(reports::deliver(line.clone(), joined.worker, report_inbox).instrument(span)),
        ];
        let outbox = crate::logs::outbox();
        let log = keeps_log.then(|| {
            let sending = lines::send(line, joined.worker, outbox.clone(), ending.clone());
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
        let config: RunConfig = toml::from_str(&reply.spec_toml).map_err(|error| bad(error.to_string()))?;
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
            worker: reply.worker,
            spec,
            run_directory: reply.run_directory.into(),
            trace_parent: reply.trace_parent,
            secret,
        })
    }
}

/// Owner of the attend stream.
struct Session {
    line: Line,
    switchboard: Switchboard,
    /// How long the worker goes on without a coordinator.
    alone: Duration,
    worker: u64,
    heartbeat_every: Duration,
    orders: Sender<Order>,
    facts: mpsc::UnboundedReceiver<Fact>,
    generation: u64,
    /// Repeated on every further stream, in this order.
    ready: Option<Fact>,
    standing: Option<Fact>,
}

enum Ended {
    Farewell,
    Lost(String),
    Refused(String),
}

impl Session {
    async fn attend(mut self) {
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            self.order(Order::Orphaned {
                why: "signals cannot be listened to".to_owned(),
            });
            return;
        };
        let mut unsent = None;
        let mut lost_since: Option<Instant> = None;
        let mut backoff = Backoff::new();
        loop {
            let attended_from = Instant::now();
            match self.attend_once(&mut terminate, &mut unsent).await {
                Ended::Farewell => return,
                Ended::Refused(why) => return self.order(Order::Orphaned { why }),
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
                    backoff.pause().await;
                }
            }
        }
    }

    async fn attend_once(&mut self, terminate: &mut Signal, unsent: &mut Option<Fact>) -> Ended {
        let (outbox, inbox) = mpsc::channel(OUTBOX);
        let opening = [heartbeat(self.worker, self.generation)].into_iter();
        let remembered = [&self.ready, &self.standing].into_iter().flatten().cloned();
        for wire in opening.chain(remembered.map(|fact| fact.into_wire(self.worker))) {
            // The outbox is empty and has room for all of them.
            let _ = outbox.try_send(wire);
        }
        let mut client = self.line.client();
        let opening = tokio::time::timeout(RPC_DEADLINE, client.attend(ReceiverStream::new(inbox))).await;
        let mut directives = match opening {
            Err(_) => return Ended::Lost(format!("no answer to attend within {} s", RPC_DEADLINE.as_secs())),
            Ok(Err(status)) if is_passing(&status) => return Ended::Lost(status.to_string()),
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
                    Ok(Some(directive)) => self.directive(directive),
                    Ok(None) => return Ended::Lost("the coordinator closed the stream".to_owned()),
                    Err(status) => return Ended::Lost(status.to_string()),
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
                    let _ = outbox.try_send(heartbeat(self.worker, self.generation));
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
        Ended::Farewell
    }

    fn directive(&mut self, directive: v1::Directive) {
        let stops = matches!(directive.order, Some(v1::directive::Order::Stop(_)));
        if directive.generation < self.generation && !stops {
            tracing::warn!(
                got = directive.generation,
                current = self.generation,
                "directive of an older generation refused"
            );
            return;
        }
        self.generation = self.generation.max(directive.generation);
        match Order::from_wire(directive, self.worker) {
            Ok(Order::Stop { drain, why }) => {
                self.leave_if_loading(&why);
                self.order(Order::Stop { drain, why });
            }
            Ok(order) => self.order(order),
            Err(error) => tracing::error!(%error, "directive not understood"),
        }
    }

    fn terminated(&self) {
        static ASKED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        if ASKED.swap(true, std::sync::atomic::Ordering::SeqCst) {
            tracing::warn!("second SIGTERM: leaving at once");
            std::process::exit(143);
        }
        self.leave_if_loading("SIGTERM");
        self.order(Order::Stop {
            drain: true,
            why: "SIGTERM".to_owned(),
        });
    }

    /// A worker that still loads has nothing to hand over, and loading may take minutes.
    fn leave_if_loading(&self, why: &str) {
        if self.ready.is_none() {
            tracing::info!(why, "leaving while loading");
            std::process::exit(0);
        }
    }

    fn order(&self, order: Order) {
        // The trainer may have ended already.
        let _ = self.orders.send(order);
    }
}
