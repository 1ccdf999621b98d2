//! The control plane over loopback, with the owner of the run played by the test.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;
use ulda_coordinator::rpc::{Ask, Door, Fact, Notice, Refusal, VERSION, Welcome, bind, serve};
use ulda_core::ids::WorkerId;
use ulda_proto::v1;
use ulda_proto::v1::coordinator_client::CoordinatorClient;

type Client = CoordinatorClient<tonic::transport::Channel>;

async fn door() -> (Client, mpsc::Receiver<Ask>, CancellationToken) {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asks, owner) = mpsc::channel(16);
    let closing = CancellationToken::new();
    let door = Door::new(
        "small",
        asks,
        closing.clone(),
        TaskTracker::new(),
        Duration::from_millis(200),
    );
    tokio::spawn(serve(listener, door));
    (
        CoordinatorClient::connect(format!("http://{address}"))
            .await
            .unwrap(),
        owner,
        closing,
    )
}

fn introduction() -> v1::JoinRequest {
    v1::JoinRequest {
        run: "small".into(),
        slot: 1,
        data_address: "127.0.0.1:4000".into(),
        device: "cpu".into(),
        process_id: 7,
        version: VERSION.into(),
        metrics_address: String::new(),
    }
}

fn says(fact: v1::attendance::Fact) -> v1::Attendance {
    v1::Attendance {
        worker: 5,
        generation: 2,
        fact: Some(fact),
    }
}

#[tokio::test]
async fn who_does_not_belong_is_told_why() {
    let (mut client, mut owner, _closing) = door().await;
    let cases: [(v1::JoinRequest, Code, &str); 3] = [
        (
            v1::JoinRequest {
                run: "other".into(),
                ..introduction()
            },
            Code::FailedPrecondition,
            "this coordinator serves run `small`, not `other`; hint: check --coordinator and --run of the worker",
        ),
        (
            v1::JoinRequest {
                version: "0.0.9".into(),
                ..introduction()
            },
            Code::FailedPrecondition,
            "worker is version 0.0.9, coordinator is version 0.1.0; hint: build both from the same commit",
        ),
        (
            v1::JoinRequest {
                data_address: "here".into(),
                ..introduction()
            },
            Code::InvalidArgument,
            "field `data_address` is `here`, not host:port",
        ),
    ];
    for (request, code, sentence) in cases {
        let status = client.join(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, sentence));
    }
    assert!(owner.try_recv().is_err(), "the owner is not bothered");
}

#[tokio::test]
async fn a_stream_carries_facts_up_and_its_end_is_told() {
    let (mut client, mut owner, _closing) = door().await;
    let joining = tokio::spawn({
        let mut client = client.clone();
        async move { client.join(introduction()).await.unwrap().into_inner() }
    });
    let Some(Ask::Join { who, reply }) = owner.recv().await else {
        panic!("no join")
    };
    assert_eq!((who.slot.0, who.device.as_str()), (1, "cpu"));
    let welcome = Welcome {
        worker: WorkerId(5),
        spec_toml: "x = 1".into(),
        run_directory: "/runs/small".into(),
        heartbeat_millis: 100,
        coordinator_term: 3,
        data_secret: vec![1, 2],
        keeps_log: true,
        trace_parent: String::new(),
    };
    reply.send(Ok(welcome)).unwrap();
    assert_eq!(joining.await.unwrap().coordinator_term, 3);

    let (facts, outbox) = mpsc::channel(8);
    let state = v1::StateClaim {
        stage: "adapt".into(),
        step: 4,
        digest: "d".into(),
    };
    facts
        .send(says(v1::attendance::Fact::Ready(v1::Ready {
            state: Some(state),
        })))
        .await
        .unwrap();
    let attending = tokio::spawn(async move {
        client
            .attend(ReceiverStream::new(outbox))
            .await
            .unwrap()
            .into_inner()
    });
    let Some(Ask::Attend {
        worker,
        generation,
        directives,
        reply,
        ..
    }) = owner.recv().await
    else {
        panic!("no attend")
    };
    assert_eq!((worker, generation.0), (WorkerId(5), 2));
    reply.send(Ok(())).unwrap();
    let mut orders = attending.await.unwrap();
    let Some(Ask::Attended {
        fact: Fact::Ready { state: Some(state) },
        ..
    }) = owner.recv().await
    else {
        panic!("not ready")
    };
    assert_eq!(state.cursor.step, 4);
    directives
        .send(v1::Directive {
            generation: 2,
            order: Some(v1::directive::Order::Go(v1::Go {})),
        })
        .await
        .unwrap();
    assert_eq!(orders.next().await.unwrap().unwrap().generation, 2);

    let nonsense = v1::StateClaim {
        stage: "lunch".into(),
        step: 0,
        digest: String::new(),
    };
    facts
        .send(says(v1::attendance::Fact::Formed(v1::Formed {
            state: Some(nonsense),
        })))
        .await
        .unwrap();
    let Some(Ask::Detached { why, .. }) = owner.recv().await else {
        panic!("not detached")
    };
    assert!(
        why.contains("field `state.stage` `lunch` is not a stage"),
        "{why}"
    );
}

#[tokio::test]
async fn refusals_and_silence_come_back_as_status() {
    let (client, mut owner, closing) = door().await;
    let (facts, outbox) = mpsc::channel::<v1::Attendance>(8);
    let mut mute = client.clone();
    let status = mute.attend(ReceiverStream::new(outbox)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(
        status.message(),
        "coordinator waited 0.2 s for the worker's first message on its attend stream"
    );
    drop(facts);

    let (facts, outbox) = mpsc::channel(8);
    facts
        .send(says(v1::attendance::Fact::Heartbeat(v1::Heartbeat {})))
        .await
        .unwrap();
    let mut stranger = client.clone();
    let attending =
        tokio::spawn(async move { stranger.attend(ReceiverStream::new(outbox)).await.map(|_| ()) });
    let Some(Ask::Attend { reply, .. }) = owner.recv().await else {
        panic!("no attend")
    };
    reply.send(Err(Refusal::UnknownWorker { worker: 5 })).unwrap();
    let status = attending.await.unwrap().unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "worker 5 is not known here; hint: join again")
    );

    let mut reporter = client.clone();
    let short = v1::EvaluationDone {
        confusion: vec![0; 4],
        ..Default::default()
    };
    let request = v1::ReportRequest {
        worker: 5,
        generation: 2,
        fact: Some(v1::report_request::Fact::Evaluation(short)),
    };
    assert_eq!(
        reporter.report(request).await.unwrap_err().message(),
        "field `confusion` has 4 cells, not 361"
    );

    let done = v1::StageDone {
        stage: "adapt".into(),
        seconds: 2.0,
        digest: "d".into(),
    };
    let request = v1::ReportRequest {
        worker: 5,
        generation: 2,
        fact: Some(v1::report_request::Fact::Stage(done)),
    };
    let reporting = tokio::spawn(async move { reporter.report(request).await });
    let Some(Ask::Report {
        notice: Notice::StageDone { seconds, .. },
        reply,
        ..
    }) = owner.recv().await
    else {
        panic!("no report")
    };
    assert_eq!(seconds, 2.0);
    drop(reply);
    assert_eq!(
        reporting.await.unwrap().unwrap_err().message(),
        "the run is ending"
    );
    closing.cancel();
}

#[tokio::test]
async fn a_taken_address_is_told() {
    let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = first.local_addr().unwrap();
    let told = bind(address).await.unwrap_err().to_string();
    assert_eq!(
        told,
        format!("address {address} is taken\n  hint: give another port with --listen, or 0 for any free one")
    );
}
