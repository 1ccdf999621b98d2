//! Silent connections to every port of a run whose processes may open few files: the run goes on as if nobody came.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::net::SocketAddr;
use std::time::Duration;

use ulda_tests::{Flood, Json, Program, World, get, limit_descriptors, run_bounded};

/// Enough for a coordinator or a worker of this run, and far fewer than the connections below.
const DESCRIPTORS: libc::rlim_t = 256;
const CONNECTIONS: usize = 400;

/// Where workers' metrics are, by slot, as the coordinator tells Prometheus.
fn metrics_addresses(page: &str) -> Option<Vec<String>> {
    let told: serde_json::Value = serde_json::from_str(&get(page, "/api/targets")?).unwrap();
    let addresses = told.as_array().unwrap().iter();
    Some(
        addresses
            .map(|group| group["targets"][0].as_str().unwrap().to_owned())
            .collect(),
    )
}

/// Where the worker of a slot listens for other workers, as its log says.
fn data_address(world: &World, slot: u32) -> Option<String> {
    let log = world.path(&format!("runs/small/logs/worker-{slot}.log"));
    let text = std::fs::read_to_string(log).unwrap();
    let joined = text.lines().filter_map(Json::parse);
    let mut joined = joined.filter(|event| event.text("message") == "joined");
    joined.next().map(|event| event.text("address").to_owned())
}

fn flood(address: &str) -> Flood {
    Flood::start(address.parse::<SocketAddr>().unwrap(), CONNECTIONS)
}

#[test]
fn silent_connections_to_every_port_neither_end_a_run_nor_keep_a_worker_from_coming_back() {
    raise_own_limit();
    let world = World::new();
    let steps = "adapt.steps=150";
    let mut command = world.command(&["--workers", "2", "--http", "127.0.0.1:0", "--set", steps]);
    command
        .args(["--set", "checkpoint.every=10"])
        .env("ULDA_WORKER_HTTP", "127.0.0.1:0");
    limit_descriptors(&mut command, DESCRIPTORS);
    let mut run = Program::start(command);
    let (address, page) = run.wait_for("its addresses", |event| {
        (event.text("message") == "serving")
            .then(|| (event.text("address").to_owned(), event.text("page").to_owned()))
    });
    let page = page
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let started = |event: &Json| {
        (event.text("message") == "worker started" && event.0["slot"] == 0)
            .then(|| event.number("process_id"))
    };
    // The survivor, whose data plane is flooded, is the one that its successor dials.
    let victim = run.wait_for("a worker in slot 0", started);
    let committed = |event: &Json| (event.text("message") == "checkpoint written").then_some(());
    run.wait_for("a checkpoint", committed);

    let workers = metrics_addresses(&page).unwrap();
    assert_eq!(workers.len(), 2);
    let data = [0, 1].map(|slot| data_address(&world, slot).unwrap());
    let ports = [&address, &page].into_iter().chain(&workers).chain(&data);
    let floods: Vec<Flood> = ports.map(|address| flood(address)).collect();
    assert_eq!(get(&page, "/healthz").as_deref(), Some("ok\n"));
    assert!(get(&page, "/metrics").unwrap().ends_with("# EOF\n"));
    for worker in &workers {
        assert_eq!(get(worker, "/healthz").as_deref(), Some("ok\n"), "{worker}");
        assert!(get(worker, "/metrics").unwrap().ends_with("# EOF\n"), "{worker}");
    }
    run.wait_for("a checkpoint under the flood", committed);

    // SAFETY: kill takes plain integers.
    assert_eq!(
        unsafe { libc::kill(i32::try_from(victim).unwrap(), libc::SIGKILL) },
        0
    );
    let successor = run.wait_for("its successor", started);
    assert_ne!(successor, victim);
    run.wait_for("a checkpoint with the successor", committed);
    assert_eq!(get(&page, "/healthz").as_deref(), Some("ok\n"));
    let said = run.finish().expect(0).said();
    drop(floods);
    for listener in ["control plane", "status page"] {
        let refused = said
            .lines()
            .filter_map(Json::parse)
            .filter(|event| event.text("message").starts_with("connections refused"))
            .any(|event| event.text("listener") == listener && event.number("refused") > 1);
        assert!(refused, "no line counts what the {listener} refused:\n{said}");
    }
    let plain = world.train("plain", 1, &[steps]);
    assert_eq!(
        world.finished("small"),
        plain,
        "a flooded run against an undisturbed one"
    );
}

/// From too few to be started with, over too few for a coordinator and for a worker, to enough.
///
/// The dynamic loader ends with 127; a run whose workers cannot be started fails when their restarts are spent.
const FEW: [libc::rlim_t; 9] = [4, 8, 12, 16, 20, 28, 36, 48, 64];

#[test]
fn too_few_descriptors_are_told_and_are_never_bad_input_however_few_they_are() {
    let world = World::new();
    let mut ended = Vec::new();
    for limit in FEW {
        let name = format!("run.name=few-{limit}");
        let mut command = world.command(&["--workers", "1", "--http", "127.0.0.1:0", "--set", &name]);
        command.args(["--set", "pretrain.steps=1", "--set", "run.end_after=pretrain"]);
        command.args(["--set", "recovery.restarts=1"]);
        limit_descriptors(&mut command, limit);
        let end = run_bounded(command, Duration::from_secs(60));
        assert!(matches!(end.code, Some(0 | 1 | 75 | 127)), "{limit}: {end:?}");
        let says = end.said.to_lowercase();
        assert!(
            end.code == Some(0) || says.contains("open files") || says.contains("open shared object"),
            "{limit}: {end:?}"
        );
        assert!(!says.contains("panicked"), "{limit}: {end:?}");
        ended.push(end.code);
    }
    assert_eq!(ended.last(), Some(&Some(0)), "{ended:?}");
    assert!(ended.contains(&Some(75)), "{ended:?}");
}

/// This process holds both ends' worth of connections.
fn raise_own_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the argument lives for the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    assert_eq!(
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) },
        0
    );
}
