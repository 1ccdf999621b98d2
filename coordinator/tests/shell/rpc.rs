//! The control plane over loopback, with the owner of the run played by the test.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;
use tonic::transport::Endpoint;
use ulda_coordinator::rpc::{
    Ask, Guard, Notice, ReceivedFact, Refusal, StreamEnd, VERSION, WorkerService, bind, serve,
};
use ulda_credentials::channel::{AuthenticatedClient, CoordinatorAccess};
use ulda_credentials::{RefusalLog, Token};
use ulda_proto::v1;
use ulda_run::ids::WorkerId;

use super::bench::small;

const TERM: u64 = 3;

async fn service() -> (AuthenticatedClient, mpsc::Receiver<Ask>, CancellationToken) {
    let (client, owner, closing, _) = door_at().await;
    (client, owner, closing)
}

async fn door_at() -> (
    AuthenticatedClient,
    mpsc::Receiver<Ask>,
    CancellationToken,
    (CoordinatorAccess, Endpoint),
) {
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asks, owner) = mpsc::channel(16);
    let closing = CancellationToken::new();
    let service = WorkerService::new(
        &small(),
        TERM,
        asks,
        closing.clone(),
        TaskTracker::new(),
        Duration::from_millis(200),
    );
    let token = Token::draw().unwrap();
    let guard = Guard::new(token.digest(), None, RefusalLog::default());
    tokio::spawn(serve(listener, service.within_host(true), guard));
    let way = CoordinatorAccess::new(&token, None, "slot 1");
    let endpoint: Endpoint = format!("http://{address}").parse().unwrap();
    let client = way.connect(&endpoint).await.unwrap();
    (client, owner, closing, (way, endpoint))
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
        coordinator_term: TERM,
    }
}

#[tokio::test]
async fn who_does_not_belong_is_told_why() {
    let (mut client, mut owner, _closing) = service().await;
    let cases: [(v1::JoinRequest, Code, &str); 4] = [
        (
            v1::JoinRequest {
                data_address: "10.0.0.3:4000".into(),
                ..introduction()
            },
            Code::FailedPrecondition,
            "the worker's data plane at 10.0.0.3:4000 is beyond the coordinator's host, and would not be encrypted; \
             hint: start the coordinator with --data-tls always",
        ),
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
    let (mut client, mut owner, _closing) = service().await;
    let joining = tokio::spawn({
        let mut client = client.clone();
        async move { client.join(introduction()).await.unwrap().into_inner() }
    });
    let Some(Ask::Join { who, reply }) = owner.recv().await else {
        panic!("no join")
    };
    assert_eq!((who.slot.0, who.device.as_str()), (1, "cpu"));
    let welcome = v1::JoinReply {
        worker: 5,
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
            clip: None,
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
        fact: ReceivedFact::Ready {
            state: Some(state), ..
        },
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
            coordinator_term: TERM,
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
    let Some(Ask::Detached {
        end: StreamEnd::Nonsense { refusal },
        ..
    }) = owner.recv().await
    else {
        panic!("not detached for nonsense")
    };
    let told = refusal.to_string();
    assert!(
        told.contains("field `state.stage` `lunch` is not a stage"),
        "{told}"
    );
}

#[tokio::test]
async fn refusals_and_silence_come_back_as_status() {
    let (client, mut owner, closing) = service().await;
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
    let mut unattached = client.clone();
    let attending =
        tokio::spawn(async move { unattached.attend(ReceiverStream::new(outbox)).await.map(|_| ()) });
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
        model: "adapted".into(),
        set: "night".into(),
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

/// Attends as worker 5.
async fn attend(
    mut client: AuthenticatedClient,
) -> (mpsc::Sender<v1::Attendance>, tonic::Streaming<v1::Directive>) {
    let (facts, outbox) = mpsc::channel(8);
    facts
        .send(says(v1::attendance::Fact::Heartbeat(v1::Heartbeat {})))
        .await
        .unwrap();
    let orders = client.attend(ReceiverStream::new(outbox)).await.unwrap();
    (facts, orders.into_inner())
}

#[tokio::test]
async fn a_worker_that_leaves_is_told_from_one_whose_connection_broke() {
    let (client, mut owner, _closing, address) = door_at().await;
    let attending = tokio::spawn(attend(client));
    let Some(Ask::Attend { reply, .. }) = owner.recv().await else {
        panic!("no attend")
    };
    reply.send(Ok(())).unwrap();
    let (facts, _orders) = attending.await.unwrap();
    let Some(Ask::Attended { .. }) = owner.recv().await else {
        panic!("no heartbeat")
    };
    drop(facts);
    let Some(Ask::Detached { end, .. }) = owner.recv().await else {
        panic!("not detached")
    };
    assert_eq!(end, StreamEnd::Closed);

    // A process that is gone closes its sockets and says nothing more.
    let process = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (attending, attended) = oneshot::channel();
    process.spawn(async move {
        let (way, endpoint) = address;
        let client = way.connect(&endpoint).await.unwrap();
        let _ = attending.send(attend(client).await);
    });
    let Some(Ask::Attend { reply, .. }) = owner.recv().await else {
        panic!("no attend")
    };
    reply.send(Ok(())).unwrap();
    let _streams = attended.await.unwrap();
    process.shutdown_background();
    let end = loop {
        match owner.recv().await {
            Some(Ask::Detached { end, .. }) => break end,
            Some(_) => {}
            None => panic!("not detached"),
        }
    };
    assert!(matches!(end, StreamEnd::Broke { .. }), "{end:?}");
}

#[tokio::test]
async fn a_coordinator_learns_from_a_worker_that_it_has_a_successor() {
    let (mut client, mut owner, _closing) = service().await;
    let (facts, outbox) = mpsc::channel(8);
    let heartbeat = says(v1::attendance::Fact::Heartbeat(v1::Heartbeat {}));
    let heard_of = v1::Attendance {
        coordinator_term: TERM + 1,
        ..heartbeat
    };
    facts.send(heard_of).await.unwrap();
    let status = client.attend(ReceiverStream::new(outbox)).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            Code::Unavailable,
            "this coordinator has term 3 and is stale: the run's coordinator has term 4"
        )
    );
    let Some(Ask::Superseded { term: 4 }) = owner.recv().await else {
        panic!("the owner is not told")
    };
}

#[tokio::test]
async fn a_taken_address_is_told() {
    let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = first.local_addr().unwrap();
    let told = bind(address).await.unwrap_err();
    assert_eq!(told.to_string(), format!("address {address} is taken"));
    let hint = "give another port with --listen, or 0 for any free one";
    assert_eq!(told.hint().as_deref(), Some(hint));
}
