//! The worker's end of the control plane against a coordinator that is played by the test.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use ulda_proto::v1;
use ulda_proto::v1::attendance::Fact as Said;
use ulda_proto::v1::coordinator_server::{Coordinator, CoordinatorServer};
use ulda_run::clip::{ClipOrigin, ClipTraining};
use ulda_run::ids::Generation;
use ulda_run::spec::{Host, RunConfig, RunSpec};
use ulda_run::stage::{Cursor, Stage};
use ulda_run::{Digest, StateClaim};
use ulda_worker::agent::{Agent, Fact, Introduction, Order};

const TERM: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(20);

/// One attend stream, seen from the coordinator.
struct Attended {
    messages: Streaming<v1::Attendance>,
    directives: mpsc::Sender<Result<v1::Directive, Status>>,
}

/// What stands behind the coordinator's address.
struct Desk {
    joined: AtomicU64,
    knows_nobody: AtomicBool,
    attended: mpsc::UnboundedSender<Attended>,
}

#[tonic::async_trait]
impl Coordinator for Desk {
    type AttendStream = Pin<Box<dyn Stream<Item = Result<v1::Directive, Status>> + Send>>;

    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::JoinReply>, Status> {
        self.knows_nobody.store(false, Ordering::SeqCst);
        Ok(Response::new(v1::JoinReply {
            worker: self.joined.fetch_add(1, Ordering::SeqCst),
            spec_toml: spec().to_toml(),
            run_directory: "/nowhere".into(),
            heartbeat_millis: 50,
            coordinator_term: TERM,
            data_secret: vec![7; 32],
            keeps_log: false,
            trace_parent: String::new(),
        }))
    }

    async fn attend(
        &self,
        request: Request<Streaming<v1::Attendance>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        if self.knows_nobody.load(Ordering::SeqCst) {
            return Err(Status::not_found("worker 0 is not known here; hint: join again"));
        }
        let (directives, inbox) = mpsc::channel(8);
        let messages = request.into_inner();
        self.attended.send(Attended { messages, directives }).unwrap();
        Ok(Response::new(Box::pin(ReceiverStream::new(inbox))))
    }

    async fn report(&self, _: Request<v1::ReportRequest>) -> Result<Response<v1::ReportReply>, Status> {
        Ok(Response::new(v1::ReportReply {}))
    }

    async fn log(&self, _: Request<v1::LogRequest>) -> Result<Response<v1::LogReply>, Status> {
        Err(Status::failed_precondition("no log is kept here"))
    }
}

fn spec() -> RunSpec {
    let config: RunConfig = toml::from_str(
        "[clip]\ncheckpoint = \"c\"\n[source]\nroot = \"s\"\n[[domain]]\nname = \"night\"\nprompt = \"driving at night\"\n",
    )
    .unwrap();
    RunSpec::resolve(config, Host { workers: 1, cores: 1 }).unwrap()
}

/// A joined worker and the coordinator it joined.
struct Bench {
    /// Dropped first: it takes its leave from a coordinator that is there.
    agent: Agent,
    attended: mpsc::UnboundedReceiver<Attended>,
    desk: Arc<Desk>,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (sender, attended) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk {
            joined: AtomicU64::new(0),
            knows_nobody: AtomicBool::new(false),
            attended: sender,
        });
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let service = CoordinatorServer::from_arc(desk.clone());
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let folder = tempfile::tempdir().unwrap();
        ulda_credentials::issue::create(folder.path(), &[]).unwrap();
        let credentials = ulda_credentials::WorkerCredentials::read(folder.path()).unwrap();
        let introduction = Introduction {
            credentials: Arc::new(credentials),
            coordinator: format!("http://{address}"),
            run: "ulda".into(),
            slot: 0,
            data_address: "127.0.0.1:4000".into(),
            device: "cpu".into(),
            metrics_address: None,
            search: Duration::from_secs(60),
        };
        let (agent, _) = Agent::start(&introduction).unwrap();
        Self {
            agent,
            attended,
            desk,
            runtime,
        }
    }

    fn next_stream(&mut self) -> Attended {
        let next = async { tokio::time::timeout(PATIENCE, self.attended.recv()).await };
        self.runtime.block_on(next).unwrap().unwrap()
    }

    /// The next message that is more than a sign of life.
    fn heard(&self, stream: &mut Attended) -> v1::Attendance {
        let next = async {
            loop {
                let message = stream.messages.next().await.unwrap().unwrap();
                if !matches!(message.fact, Some(Said::Heartbeat(_))) {
                    return message;
                }
            }
        };
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, next).await })
            .unwrap()
    }

    fn direct(&self, stream: &Attended, coordinator_term: u64, generation: u64) {
        let directive = v1::Directive {
            generation,
            order: Some(v1::directive::Order::Go(v1::Go {})),
            coordinator_term,
        };
        self.runtime
            .block_on(stream.directives.send(Ok(directive)))
            .unwrap();
    }

    fn order(&self) -> Order {
        self.agent.orders.recv_timeout(PATIENCE).unwrap()
    }
}

fn state(step: u64) -> StateClaim {
    StateClaim {
        cursor: Cursor {
            stage: Stage::Adapt,
            step,
        },
        digest: Digest(format!("digest {step}")),
    }
}

fn formed(generation: u64) -> Fact {
    Fact::Formed {
        generation: Generation(generation),
        state: state(4),
    }
}

fn ready() -> Fact {
    Fact::Ready {
        state: None,
        clip: ClipOrigin {
            digest: "c".into(),
            training: ClipTraining::GeneratedStreets,
        },
    }
}

#[test]
fn a_worker_whose_stream_broke_opens_another_and_repeats_where_it_stands() {
    let mut bench = Bench::new();
    let mut first = bench.next_stream();
    bench.agent.tell(ready());
    bench.direct(&first, TERM, 5);
    assert_eq!(
        bench.order(),
        Order::Go {
            generation: Generation(5)
        }
    );
    bench.agent.tell(formed(5));
    assert!(matches!(bench.heard(&mut first).fact, Some(Said::Ready(_))));
    assert!(matches!(bench.heard(&mut first).fact, Some(Said::Formed(_))));
    drop(first);

    let mut second = bench.next_stream();
    let opening = bench.runtime.block_on(second.messages.next()).unwrap().unwrap();
    assert_eq!(
        (opening.worker, opening.generation, opening.coordinator_term),
        (0, 5, TERM)
    );
    assert!(matches!(bench.heard(&mut second).fact, Some(Said::Ready(_))));
    assert!(matches!(bench.heard(&mut second).fact, Some(Said::Formed(_))));
    assert_eq!(
        bench.desk.joined.load(Ordering::SeqCst),
        1,
        "it did not join again"
    );
}

#[test]
fn a_coordinator_with_a_successor_is_not_obeyed() {
    let mut bench = Bench::new();
    let stale = bench.next_stream();
    bench.direct(&stale, TERM - 1, 9);
    let current = bench.next_stream();
    bench.direct(&current, TERM, 6);
    let obeyed = Order::Go {
        generation: Generation(6),
    };
    assert_eq!(bench.order(), obeyed, "and nothing before it");
}

#[test]
fn a_worker_that_was_given_up_joins_again_with_the_state_it_keeps() {
    let mut bench = Bench::new();
    let mut first = bench.next_stream();
    bench.agent.tell(ready());
    assert!(matches!(bench.heard(&mut first).fact, Some(Said::Ready(_))));
    bench.direct(&first, TERM, 5);
    assert!(matches!(bench.order(), Order::Go { .. }));

    bench.desk.knows_nobody.store(true, Ordering::SeqCst);
    drop(first);
    let Order::Fence { generation, why } = bench.order() else {
        panic!("the trainer is to leave its generation first")
    };
    assert_eq!(generation, Generation(5));
    assert!(why.contains("not known here"), "{why}");
    bench.agent.tell(Fact::Broke {
        generation,
        cause: "fenced".into(),
        waiting_for: Vec::new(),
        state: Some(state(8)),
    });

    let mut second = bench.next_stream();
    let ready = bench.heard(&mut second);
    assert_eq!(ready.worker, 1, "under a new id");
    let Some(Said::Ready(v1::Ready {
        state: Some(kept),
        clip: Some(clip),
    })) = ready.fact
    else {
        panic!("{ready:?}")
    };
    assert_eq!(
        (clip.digest.as_str(), clip.training.as_str()),
        ("c", "generated-streets")
    );
    assert_eq!((kept.step, kept.digest.as_str()), (8, "digest 8"));
}
