//! A real run with a worker that is killed, as a collector of traces sees it.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use ulda_tests::{Json, Program, World};

/// Spans with the service that sent them.
type Spans = Arc<Mutex<Vec<(String, Span)>>>;

/// A collector in this process.
#[derive(Clone, Default)]
struct Collector(Spans);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.0.lock().unwrap();
        for of_resource in request.into_inner().resource_spans {
            let resource = of_resource.resource.unwrap();
            let service = text(&resource.attributes, "service.name");
            for of_scope in of_resource.scope_spans {
                spans.extend(of_scope.spans.into_iter().map(|span| (service.clone(), span)));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

fn number(span: &Span, key: &str) -> i64 {
    match value(&span.attributes, key) {
        Some(Value::IntValue(number)) => *number,
        other => panic!("{key} of {} is {other:?}", span.name),
    }
}

/// Starts a collector; it ends with the runtime.
fn collect(runtime: &tokio::runtime::Runtime) -> (Spans, String) {
    let collector = Collector::default();
    let spans = collector.0.clone();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector));
    runtime.spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    (spans, format!("http://{address}"))
}

fn start(world: &World, endpoint: &str) -> Program {
    let sets = ["adapt.steps=60", "checkpoint.every=10"];
    let mut arguments = vec!["--workers", "2", "--http", "off"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let mut command = world.command(&arguments);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_TRACES_SAMPLER_ARG", "1");
    Program::start(command)
}

#[test]
fn a_run_with_a_killed_worker_is_one_trace() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (spans, endpoint) = collect(&runtime);
    let world = World::new();
    let mut run = start(&world, &endpoint);
    let victim = run.wait_for("a worker in slot 1", |event| {
        (event.text("message") == "worker started" && event.number("slot") == 1)
            .then(|| event.number("process_id"))
    });
    run.wait_for("a checkpoint of adapt", |event| {
        (event.text("message") == "checkpoint written" && event.text("stage") == "adapt").then_some(())
    });
    // SAFETY: kill takes plain integers.
    assert_eq!(
        unsafe { libc::kill(i32::try_from(victim).unwrap(), libc::SIGKILL) },
        0
    );
    let _ = run.finish().expect(0);

    let spans = spans.lock().unwrap();
    let traces: BTreeSet<&[u8]> = spans.iter().map(|(_, span)| span.trace_id.as_slice()).collect();
    assert_eq!(traces.len(), 1);
    let services: BTreeSet<&str> = spans.iter().map(|(service, _)| service.as_str()).collect();
    assert_eq!(
        services.into_iter().collect::<Vec<_>>(),
        ["ulda-coordinator", "ulda-worker"]
    );
    let named = |name: &str| -> Vec<&Span> {
        let all = spans.iter().map(|(_, span)| span);
        all.filter(|span| span.name == name).collect()
    };
    let roots: Vec<&Span> = spans
        .iter()
        .map(|(_, span)| span)
        .filter(|span| span.parent_span_id.is_empty())
        .collect();
    assert_eq!(roots.len(), 1);
    let root = roots[0];
    assert_eq!(root.name, "run small");
    let mut stages = BTreeMap::new();
    for stage in ["pretrain", "simulate", "adapt", "evaluate"] {
        let found = named(stage);
        assert_eq!(found.len(), 1, "{stage}");
        assert_eq!(found[0].parent_span_id, root.span_id, "{stage}");
        assert!(
            found[0].start_time_unix_nano >= root.start_time_unix_nano,
            "{stage}"
        );
        assert!(found[0].end_time_unix_nano <= root.end_time_unix_nano, "{stage}");
        stages.insert(found[0].span_id.clone(), stage);
    }

    let mut steps: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for step in named("step") {
        let stage = stages[&step.parent_span_id];
        assert_eq!(text(&step.attributes, "ulda.stage"), stage);
        steps.entry(stage).or_default().insert(number(step, "ulda.step"));
        assert!((0..4).contains(&number(step, "ulda.shard")));
        assert!(ids.insert(step.span_id.clone()), "an id is used once");
    }
    for (stage, count) in [("pretrain", 6), ("simulate", 2), ("adapt", 60), ("evaluate", 1)] {
        assert_eq!(steps[stage], (0..count).collect(), "{stage}");
    }
    for phase in ["data", "forward", "backward", "reduce", "optimise"] {
        let found = named(phase);
        // The killed worker takes what it had not sent with it.
        assert!(found.len() >= 2 * 70, "{phase}: {}", found.len());
        assert!(
            found.iter().all(|span| ids.contains(&span.parent_span_id)),
            "{phase}"
        );
    }

    let recoveries = named("recovery");
    let recovery = recoveries.first().unwrap();
    assert_eq!(recovery.parent_span_id, root.span_id);
    assert!(number(recovery, "ulda.generation.next") > number(recovery, "ulda.generation.broken"));
    let reason = text(&recovery.attributes, "ulda.reason");
    assert!(
        reason.starts_with("worker-") || reason == "collective-aborted",
        "{reason}"
    );
    assert_eq!(text(&recovery.attributes, "ulda.stage"), "adapt");
    assert!(recovery.end_time_unix_nano > recovery.start_time_unix_nano);
}

#[test]
fn a_collector_that_is_down_is_said_once_and_costs_nothing() {
    let world = World::new();
    // Nobody listens at a port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let ended = start(&world, &format!("http://{free}")).finish().expect(0);
    let complaints = |text: &str| {
        let lines = text.lines().filter_map(Json::parse);
        let complaint = "the collector takes no traces; training goes on without";
        lines.filter(|line| line.text("message") == complaint).count()
    };
    assert_eq!(complaints(&ended.err), 1, "{}", ended.err);
    for slot in 0..2 {
        let log = world.path(&format!("runs/small/logs/worker-{slot}.log"));
        let log = std::fs::read_to_string(log).unwrap();
        assert_eq!(complaints(&log), 1, "{log}");
    }
}
