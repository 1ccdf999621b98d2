//! No message of a worker ends the coordinator: every field of every request holds, in turn, what no worker would say.
//! The fields come from the description of the .proto file, so that a new one is tried as well.

use std::process::{Child, Stdio};
use std::time::Duration;

use prost_reflect::{DescriptorPool, Value};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use ulda_coordinator::journal::JournalReader;
use ulda_coordinator::rpc::VERSION;
use ulda_credentials::WorkerCredentials;
use ulda_credentials::channel::{AuthenticatedClient, CoordinatorAccess};
use ulda_proto::{DESCRIPTION, v1};

use super::bench::{Bench, ask, outcome, page_of, told};
use super::hostile::{Hostile, mutations, whole};
use super::lives::signal;

const PATIENCE: Duration = Duration::from_secs(20);
/// Beyond those that a hostile request may name.
const FIRST_SLOT: u32 = 10;

fn texts(field: &str) -> Option<String> {
    let text = match field {
        "run" => "small",
        "version" => VERSION,
        "data_address" | "metrics_address" => "127.0.0.1:4000",
        "stage" => "adapt",
        "training" => "unmarked",
        "name" => "put",
        _ => return None,
    };
    Some(text.to_owned())
}

/// A coordinator that waits for two workers.
struct Served {
    bench: Bench,
    process: Child,
    client: AuthenticatedClient,
    /// Slots that a worker has joined for.
    slots: u32,
}

impl Served {
    async fn start() -> Self {
        let bench = Bench::new();
        let arguments = [
            "--workers",
            "2",
            "--no-launch",
            "--insecure-loopback",
            "--http",
            "127.0.0.1:0",
            "--set",
            "recovery.min_workers=2",
            "--set",
            "recovery.max_workers=100000",
            "--set",
            "deadline.heartbeat=600",
        ];
        let mut command = bench.command(&arguments);
        command
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(bench.path("stderr")).unwrap());
        let process = command.spawn().unwrap();
        page_of(&bench);
        let lock = std::fs::read(bench.run().join("run.lock")).unwrap();
        let lock: serde_json::Value = serde_json::from_slice(&lock).unwrap();
        let address = format!("http://{}", lock["address"].as_str().unwrap());
        let credentials = WorkerCredentials::read(&bench.run().join("credentials")).unwrap();
        let way = CoordinatorAccess::new(credentials.token(), None, "slot 0");
        let client = way.connect(&address.parse().unwrap()).await.unwrap();
        Self {
            bench,
            process,
            client,
            slots: FIRST_SLOT,
        }
    }

    /// Joins for a slot of its own, so that nobody is replaced; the worker's number.
    async fn join(&mut self) -> u64 {
        let request = v1::JoinRequest {
            run: "small".into(),
            slot: self.slots,
            data_address: "127.0.0.1:4000".into(),
            device: "cpu".into(),
            process_id: 7,
            version: VERSION.into(),
            metrics_address: String::new(),
        };
        self.slots += 1;
        let joined = self.client.join(request).await;
        joined
            .unwrap_or_else(|status| panic!("{status}\n{}", self.said()))
            .into_inner()
            .worker
    }

    /// Says one thing as `worker` and leaves; what the coordinator said until it closed the stream.
    async fn say(&mut self, message: v1::Attendance) -> Result<(), Status> {
        let (facts, outbox) = mpsc::channel(1);
        facts.send(message).await.unwrap();
        drop(facts);
        let mut orders = self
            .client
            .attend(ReceiverStream::new(outbox))
            .await?
            .into_inner();
        while let Some(order) = orders.next().await {
            order?;
        }
        Ok(())
    }

    /// Sends a request; as a worker that has joined, unless it is the worker's number that is hostile.
    async fn send(&mut self, call: &str, hostile: &Hostile, worker: u64) -> Result<(), Status> {
        let mut message = hostile.message.clone();
        if message
            .get_field_by_name("worker")
            .is_some_and(|was| *was == Value::U64(1))
        {
            let worker = match call {
                "Attend" => self.join().await,
                _ => worker,
            };
            message.set_field_by_name("worker", Value::U64(worker));
        }
        match call {
            "Join" => {
                let request = message.transcode_to::<v1::JoinRequest>().unwrap();
                self.client.join(request).await.map(|_| ())
            }
            "Attend" => self.say(message.transcode_to().unwrap()).await,
            "Report" => {
                let request = message.transcode_to::<v1::ReportRequest>().unwrap();
                self.client.report(request).await.map(|_| ())
            }
            "Log" => {
                let request = message.transcode_to::<v1::LogRequest>().unwrap();
                self.client.log(request).await.map(|_| ())
            }
            other => panic!("say how to call {other}"),
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.bench.path("stderr")).unwrap()
    }
}

/// The stream of a worker that only says that it is alive.
async fn alive(served: &mut Served) -> (u64, mpsc::Sender<v1::Attendance>, Streaming<v1::Directive>) {
    let worker = served.join().await;
    let (facts, outbox) = mpsc::channel(1);
    let heartbeat = v1::Attendance {
        worker,
        generation: 0,
        fact: Some(v1::attendance::Fact::Heartbeat(v1::Heartbeat {})),
        coordinator_term: 1,
    };
    facts.send(heartbeat).await.unwrap();
    let orders = served.client.attend(ReceiverStream::new(outbox)).await.unwrap();
    (worker, facts, orders.into_inner())
}

/// A refusal for a reason, from a coordinator that goes on.
fn is_a_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound | Code::OutOfRange
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_field_of_a_message_ends_the_coordinator() {
    let mut served = Served::start().await;
    // Worker 0 is a number that a hostile request may name.
    served.join().await;
    let (worker, _facts, mut orders) = alive(&mut served).await;
    let pool = DescriptorPool::decode(DESCRIPTION).unwrap();
    let service = pool.get_service_by_name("ulda.v1.Coordinator").unwrap();
    let (mut tried, mut refused) = (0, 0);
    for call in service.methods() {
        for request in whole(&call.input(), texts) {
            for hostile in mutations(&request, call.name(), texts) {
                let sent = tokio::time::timeout(PATIENCE, served.send(call.name(), &hostile, worker)).await;
                let what = &hostile.what;
                let answer = sent.unwrap_or_else(|_| panic!("{what}: no answer\n{}", served.said()));
                tried += 1;
                if let Err(status) = answer {
                    assert!(is_a_refusal(&status), "{what}: {status}\n{}", served.said());
                    assert!(
                        status.message().len() < 2000,
                        "{what}: {}",
                        status.message().len()
                    );
                    refused += 1;
                }
                assert!(
                    served.process.try_wait().unwrap().is_none(),
                    "{what} ended it\n{}",
                    served.said()
                );
            }
        }
    }
    assert!(tried > 200 && refused > 50, "{tried} tried, {refused} refused");

    // The worker that said nothing wrong is still one of the run, and the run is where it was.
    let quiet = tokio::time::timeout(Duration::from_millis(100), orders.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    served.join().await;
    let address = page_of(&served.bench);
    for page in ["/", "/metrics", "/api/status", "/healthz"] {
        assert_eq!(
            ask(&address, &format!("GET {page}")).unwrap().status,
            200,
            "{page}"
        );
    }
    let status = served.bench.output(&["status", "runs/small", "-o", "json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["state"], "running");
    assert_eq!(status["committed"], serde_json::Value::Null);
    let journal = JournalReader::open(&served.bench.run().join("journal.sqlite")).unwrap();
    ulda_coordinator::journal::audit_journal(&journal).unwrap();
    for command in [
        &["report", "runs/small"][..],
        &["export-tensorboard", "runs/small", "--out", "exported"],
    ] {
        let output = served.bench.output(command);
        assert!(output.status.success(), "{}", told(&served.bench, &output));
    }
    assert!(!served.said().contains("panicked"), "{}", served.said());
    signal(served.process.id(), libc::SIGTERM);
    let Served { process, .. } = served;
    assert_eq!(outcome(process).status.code(), Some(143));
}
