//! No message of a coordinator makes a worker panic or hang: every field of every reply and order holds, in turn, what no
//! coordinator would say. The worker refuses it in a sentence, or goes on.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

#[path = "../../proto/tests/hostile/mod.rs"]
mod hostile;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hostile::{Hostile, mutations, whole};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};
use ulda_proto::v1::coordinator_server::{Coordinator, CoordinatorServer};
use ulda_proto::{DESCRIPTION, v1};
use ulda_run::clip::{ClipOrigin, ClipTraining};
use ulda_run::ids::{Generation, WorkerId};
use ulda_run::spec::{Host, RunConfig, RunSpec};
use ulda_worker::agent::{Agent, Fact, Introduction, Order};

const PATIENCE: Duration = Duration::from_secs(20);
/// The highest number that a worker believes: an order of this term and generation is obeyed after any other.
const LAST: u64 = 1 << 53;
const SPEC: &str = "[run]\nshards = 1\n[clip]\ncheckpoint = \"c\"\n[source]\nroot = \"s\"\n[[domain]]\nname = \"night\"\nprompt = \"driving at night\"\n";

static PANICS: AtomicUsize = AtomicUsize::new(0);

fn spec() -> RunSpec {
    let config: RunConfig = toml::from_str(SPEC).unwrap();
    RunSpec::resolve(config, Host { workers: 1, cores: 1 }).unwrap()
}

fn texts(field: &str) -> Option<String> {
    match field {
        "spec_toml" => Some(spec().to_toml()),
        "data_address" => Some("127.0.0.1:4000".to_owned()),
        "stage" => Some("adapt".to_owned()),
        "run_directory" => Some("/nowhere".to_owned()),
        _ => None,
    }
}

/// What the coordinator says: a reply to whoever joins, and on each stream to go.
struct Desk {
    reply: Mutex<v1::JoinReply>,
}

#[tonic::async_trait]
impl Coordinator for Desk {
    type AttendStream = Pin<Box<dyn Stream<Item = Result<v1::Directive, Status>> + Send>>;

    async fn join(&self, _: Request<v1::JoinRequest>) -> Result<Response<v1::JoinReply>, Status> {
        Ok(Response::new(self.reply.lock().unwrap().clone()))
    }

    async fn attend(
        &self,
        request: Request<Streaming<v1::Attendance>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let (directives, inbox) = mpsc::channel(8);
        let mut messages = request.into_inner();
        tokio::spawn(async move {
            let go = v1::Directive {
                generation: LAST,
                order: Some(v1::directive::Order::Go(v1::Go {})),
                coordinator_term: LAST,
            };
            // A worker that has left needs no order.
            let _ = directives.send(Ok(go)).await;
            while let Ok(Some(_)) = messages.message().await {}
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(inbox))))
    }

    async fn report(&self, _: Request<v1::ReportRequest>) -> Result<Response<v1::ReportReply>, Status> {
        Ok(Response::new(v1::ReportReply {}))
    }

    async fn log(&self, _: Request<v1::LogRequest>) -> Result<Response<v1::LogReply>, Status> {
        Err(Status::failed_precondition("no log is kept here"))
    }
}

struct Bench {
    desk: Arc<Desk>,
    introduction: Introduction,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let desk = Arc::new(Desk {
            reply: Mutex::default(),
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
            search: Duration::from_secs(5),
        };
        Self {
            desk,
            introduction,
            _runtime: runtime,
        }
    }

    /// A worker that joins with this reply and hears to go.
    fn try_join(&self, reply: v1::JoinReply) -> Result<Agent, String> {
        *self.desk.reply.lock().unwrap() = reply;
        let (agent, _) = Agent::start(&self.introduction).map_err(|error| error.to_string())?;
        // One that is loading ends with its process when it is told to stop.
        agent.tell(Fact::Ready {
            state: None,
            clip: ClipOrigin {
                digest: "c".into(),
                training: ClipTraining::Unmarked,
            },
        });
        Ok(agent)
    }

    /// Whether the worker came to obey the order.
    fn obeys(agent: &Agent) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(order) = agent.orders.recv_deadline(deadline) {
            match order {
                Order::Go { generation } if generation == Generation(LAST) => return true,
                _ => {}
            }
        }
        false
    }
}

fn message(pool: &DescriptorPool, name: &str) -> MessageDescriptor {
    pool.get_message_by_name(&format!("ulda.v1.{name}")).unwrap()
}

fn hostile(of: &MessageDescriptor) -> Vec<Hostile> {
    let whole = whole(of, texts);
    whole
        .iter()
        .flat_map(|message| mutations(message, of.name(), texts))
        .collect()
}

fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(info);
    }));
}

#[test]
fn no_field_of_a_reply_or_an_order_harms_a_worker() {
    count_panics();
    let bench = Bench::new();
    let pool = DescriptorPool::decode(DESCRIPTION).unwrap();
    let service = pool.get_service_by_name("ulda.v1.Coordinator").unwrap();
    let said: BTreeSet<String> = service
        .methods()
        .map(|call| call.output().name().to_owned())
        .collect();
    // Whoever adds a reply says here what is hostile in it.
    let known = ["Directive", "JoinReply", "LogReply", "ReportReply"];
    assert_eq!(said, known.map(str::to_owned).into());
    for empty in ["LogReply", "ReportReply"] {
        assert_eq!(
            message(&pool, empty).fields().count(),
            0,
            "{empty} holds something now"
        );
    }

    let (mut tried, mut refused) = (0, 0);
    for Hostile { what, message } in hostile(&message(&pool, "JoinReply")) {
        tried += 1;
        match bench.try_join(message.transcode_to().unwrap()) {
            Ok(agent) => {
                // A coordinator of a term that no run reaches is not obeyed, nor is any after it.
                assert!(
                    what.contains("coordinator_term") || Bench::obeys(&agent),
                    "{what}"
                );
            }
            Err(why) => {
                assert!(!why.is_empty() && why.len() < 2000, "{what}: {} bytes", why.len());
                refused += 1;
            }
        }
    }
    for Hostile { what, message } in hostile(&message(&pool, "Directive")) {
        tried += 1;
        let order: v1::Directive = message.transcode_to().unwrap();
        match Order::from_wire(order, WorkerId(1), spec().shards()) {
            Ok(Order::Form(form)) => {
                let members = form.addresses.len();
                assert!((form.me.0 as usize) < members, "{what}");
                assert!(
                    form.shard_owner.iter().all(|owner| (owner.0 as usize) < members),
                    "{what}"
                );
            }
            Ok(_) => {}
            Err(why) => {
                assert!(!why.to_string().is_empty(), "{what}");
                refused += 1;
            }
        }
    }
    assert!(tried > 80 && refused > 5, "{tried} tried, {refused} refused");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}
