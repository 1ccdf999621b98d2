//! Runs whose processes share no disk, only a storage by URL: they end with the bits of an undisturbed local run.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use ulda_s3::{Fault, Rule, SECRET, Server};
use ulda_tests::{Final, Program, World, copy_tree};

/// Long enough to be interrupted in its middle.
const SETS: [&str; 5] = [
    "run.name=run",
    "adapt.steps=60",
    "adapt.validate_every=20",
    "checkpoint.every=10",
    "checkpoint.keep=3",
];
const IN_STORAGE: [&str; 3] = [
    "storage.url=s3://bucket/runs",
    "storage.request=2",
    "storage.deadline=2",
];

/// The run as it ends on one disk when nothing happens to it.
fn undisturbed() -> &'static Final {
    static UNDISTURBED: OnceLock<Final> = OnceLock::new();
    UNDISTURBED.get_or_init(|| World::new().train("run", 2, &SETS))
}

/// A storage, a coordinator's host, and workers' hosts with folders of their own.
struct Cluster {
    world: World,
    server: Server,
}

impl Cluster {
    fn new() -> Self {
        Self {
            world: World::new(),
            server: Server::start(),
        }
    }

    fn with_storage(&self, mut command: Command) -> Program {
        command.envs(self.server.environment());
        Program::start(command)
    }

    /// The coordinator of the run, with further arguments, and its address.
    fn coordinator(&self, arguments: &[&str]) -> (Program, String) {
        let mut all = vec!["--workers", "2", "--no-launch"];
        all.extend(SETS.iter().chain(&IN_STORAGE).flat_map(|set| ["--set", set]));
        all.extend(arguments);
        served(self.with_storage(self.world.command(&all)))
    }

    /// A coordinator that continues the run from its directory, and its address.
    fn resumed(&self) -> (Program, String) {
        let run = self.world.path("runs/run");
        let arguments = ["resume", run.to_str().unwrap(), "--workers", "2", "--no-launch"];
        served(self.with_storage(self.world.command(&arguments)))
    }

    /// Two workers, each on a host of its own.
    fn workers(&self, address: &str) -> Vec<Program> {
        let host = |slot: u32| {
            let slot = slot.to_string();
            let directory = self.world.path(&format!("host-{slot}/run"));
            let cache = self.world.path(&format!("host-{slot}/cache"));
            let coordinator = format!("https://{address}");
            let mut command = self.world.worker(&["join", "--run", "run", "--slot", &slot]);
            command
                .args(["--coordinator", &coordinator])
                .args(["--credentials", "runs/run/credentials", "--directory"])
                .arg(directory);
            command.arg("--cache").arg(cache).env("RUST_LOG", "info");
            self.with_storage(command)
        };
        (0..2).map(host).collect()
    }

    /// The run when a checkpoint of adapt has reached the storage, and everything was killed.
    fn killed(&self) {
        let (mut coordinator, address) = self.coordinator(&[]);
        let workers = self.workers(&address);
        coordinator.wait_for("a checkpoint of adapt in the storage", |event| {
            let stored =
                event.text("message") == "checkpoint written" && event.text("path").starts_with("s3://");
            (stored && event.text("stage") == "adapt" && event.number("step") > 0).then_some(())
        });
        let _ = coordinator.kill_all();
        drop(workers);
        assert!(!self.stored("checkpoints/final").exists(), "it was not over yet");
        self.wipe("host-0");
        self.wipe("host-1");
    }

    fn wipe(&self, name: &str) {
        std::fs::remove_dir_all(self.world.path(name)).unwrap();
    }

    /// Where the server keeps something of the run.
    fn stored(&self, name: &str) -> std::path::PathBuf {
        self.server.file("runs/run").join(name)
    }

    fn assert_finished(&self) {
        assert_eq!(&Final::of(&self.stored("")), undisturbed());
        for left in [
            "run.toml",
            "styles/bank.safetensors",
            "examples/night/00.png",
            "report/index.html",
            "report/scores.csv",
            "checkpoints/final/adapted.safetensors",
        ] {
            assert!(self.stored(left).is_file(), "{left}");
        }
        let report = std::fs::read_to_string(self.stored("report/index.html")).unwrap();
        assert!(report.contains("data:image/png;base64,"), "it shows examples");
    }
}

fn served(mut coordinator: Program) -> (Program, String) {
    let address = coordinator.wait_for("its address", |event| {
        (event.text("message") == "serving").then(|| event.text("address").to_owned())
    });
    (coordinator, address)
}

fn tar(folder: &Path, archive: &Path) {
    let mut command = Command::new("tar");
    command.arg("-czf").arg(archive).arg("-C").arg(folder).arg(".");
    assert!(command.status().unwrap().success());
}

#[test]
fn workers_without_a_common_disk_and_inputs_by_url_come_to_the_same_bits() {
    let cluster = Cluster::new();
    let (world, server) = (&cluster.world, &cluster.server);
    std::fs::create_dir_all(server.file("data")).unwrap();
    tar(
        &world.path("data/cityscapes"),
        &server.file("data/cityscapes.tar.gz"),
    );
    copy_tree(&world.path("data/acdc"), &server.file("data/acdc"));
    std::fs::copy(
        world.path("clip.safetensors"),
        server.file("data/clip.safetensors"),
    )
    .unwrap();
    let inputs = [
        "clip.checkpoint=s3://bucket/data/clip.safetensors",
        "source.root=s3://bucket/data/cityscapes.tar.gz",
        "evaluate.set[0].root=s3://bucket/data/acdc",
    ];
    let arguments: Vec<&str> = inputs.iter().flat_map(|set| ["--set", set]).collect();
    let (coordinator, address) = cluster.coordinator(&arguments);
    let workers = cluster.workers(&address);
    let said = coordinator.finish().expect(0).said();
    for worker in workers {
        let worker = worker.finish().expect(0).said();
        assert!(!worker.contains(SECRET));
    }
    assert!(!said.contains(SECRET));
    assert!(
        !std::fs::read_to_string(cluster.stored("run.toml"))
            .unwrap()
            .contains(SECRET)
    );
    cluster.assert_finished();
}

#[test]
fn a_run_whose_hosts_were_all_replaced_goes_on_from_its_storage() {
    let cluster = Cluster::new();
    cluster.killed();
    // The coordinator's disk survived.
    let (coordinator, address) = cluster.resumed();
    let mut workers = cluster.workers(&address);
    let from = workers[0].wait_for("its checkpoint", |event| {
        (event.text("message") == "checkpoint read").then(|| event.text("path").to_owned())
    });
    assert!(
        from.starts_with("s3://bucket/runs/run/checkpoints/adapt-"),
        "{from}"
    );
    let _ = coordinator.finish().expect(0);
    cluster.assert_finished();
}

#[test]
fn a_run_of_which_only_the_storage_is_left_goes_on_and_is_for_itself() {
    let cluster = Cluster::new();
    cluster.killed();
    cluster.wipe("runs");
    let mut anew = vec!["--workers", "2", "--no-launch"];
    anew.extend(SETS.iter().chain(&IN_STORAGE).flat_map(|set| ["--set", set]));
    let refused = |arguments: &[&str]| {
        let command = cluster.world.command(arguments);
        cluster.with_storage(command).finish().expect(78)
    };
    let refused_anew = refused(&anew);
    assert!(
        refused_anew.err.contains("already holds this run") && refused_anew.err.contains("--resume"),
        "{}",
        refused_anew.err
    );
    anew.extend(["--resume", "--set", "adapt.lr_head=0.5"]);
    let other = refused(&anew);
    assert!(
        other.err.contains("holds another run") && other.err.contains("adapt.lr_head"),
        "{}",
        other.err
    );
    let (coordinator, address) = cluster.coordinator(&["--resume"]);
    let _workers = cluster.workers(&address);
    let ended = coordinator.finish().expect(0);
    assert!(!ended.said().contains("violation"), "{}", ended.said());
    cluster.assert_finished();
}

#[test]
fn an_outage_of_the_storage_delays_the_end_and_nothing_else() {
    let cluster = Cluster::new();
    let (mut coordinator, address) = cluster.coordinator(&[]);
    let mut workers = cluster.workers(&address);
    coordinator.wait_for("a checkpoint in the storage", |event| {
        event.text("path").starts_with("s3://").then_some(())
    });
    cluster.server.fail(Rule::all(Fault::Status(503), "/bucket"));
    // Shard 0's worker gets to the end of training before it has to wait.
    workers[0].wait_for("the end of training", |event| {
        event
            .text("message")
            .contains("the finished models are not in the storage yet")
            .then_some(())
    });
    assert!(!cluster.stored("checkpoints/final").exists());
    cluster.server.recover();
    let _ = coordinator.finish().expect(0);
    cluster.assert_finished();
}

#[test]
fn a_storage_that_never_takes_the_models_fails_the_run_which_can_be_resumed() {
    let cluster = Cluster::new();
    let (mut coordinator, address) = cluster.coordinator(&["--set", "storage.final_models=3"]);
    let workers = cluster.workers(&address);
    coordinator.wait_for("a checkpoint in the storage", |event| {
        event.text("path").starts_with("s3://").then_some(())
    });
    cluster.server.fail(Rule::all(Fault::Status(503), "/bucket"));
    let failed = coordinator.finish().expect(78).said();
    assert!(
        failed.contains("the storage did not take them within") && failed.contains("coordinator resume"),
        "{failed}"
    );
    drop(workers);
    cluster.server.recover();
    let (coordinator, address) = cluster.resumed();
    let _workers = cluster.workers(&address);
    let _ = coordinator.finish().expect(0);
    cluster.assert_finished();
}

#[test]
fn a_newcomer_whom_the_storage_refuses_costs_the_run_nothing() {
    let cluster = Cluster::new();
    let (mut coordinator, address) = cluster.coordinator(&["--set", "recovery.min_workers=1"]);
    let mut workers = cluster.workers(&address);
    coordinator.wait_for("a checkpoint in the storage", |event| {
        event.text("path").starts_with("s3://").then_some(())
    });
    cluster
        .server
        .fail(Rule::all(Fault::Status(403), "GET /bucket/runs/run/checkpoints"));
    cluster.server.fail(Rule::all(Fault::Status(403), "GET /bucket "));
    let _ = workers.remove(1).kill_all();
    let newcomer = cluster.workers(&address).remove(1).finish();
    let newcomer = newcomer.expect(75).said();
    assert!(newcomer.contains("refuses it"), "{newcomer}");
    cluster.server.recover();
    let _ = coordinator.finish().expect(0);
    cluster.assert_finished();
}

#[test]
fn what_is_wrong_with_a_storage_is_found_before_any_work() {
    let cluster = Cluster::new();
    let check = |sets: &[&str], secret: &str| {
        let mut arguments = vec!["check", "--no-launch"];
        arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
        let mut command = cluster.world.command(&arguments);
        command
            .envs(cluster.server.environment())
            .env("AWS_SECRET_ACCESS_KEY", secret);
        command.env("HOME", cluster.world.path("nobody"));
        Program::start(command).finish()
    };
    let right = ["storage.url=s3://bucket/runs"];
    let _ = check(&right, SECRET).expect(0);
    let wrong = check(&right, "another").expect(78);
    assert!(
        wrong.out.contains("SignatureDoesNotMatch") && wrong.out.contains("AWS_SECRET_ACCESS_KEY"),
        "{}",
        wrong.out
    );
    let no_bucket = check(&["storage.url=s3://no-such/runs"], SECRET).expect(78);
    assert!(no_bucket.out.contains("no such bucket"), "{}", no_bucket.out);
    let missing = check(&["source.root=s3://bucket/nothing"], SECRET).expect(78);
    assert!(
        missing.out.contains("source.root") && missing.out.contains("holds no objects"),
        "{}",
        missing.out
    );
    let plain = check(&["storage.url=s3://key:hidden@bucket/runs"], SECRET).expect(78);
    assert!(
        plain.said().contains("holds credentials") && !plain.said().contains("hidden"),
        "{}",
        plain.said()
    );
    let secret = ["storage.endpoint=key:hidden@host"];
    let secret = check(&secret, SECRET).expect(78).said();
    assert!(
        secret.contains("holds credentials") && !secret.contains("hidden"),
        "{secret}"
    );
    let early = ["--resume", "--set", "storage.url=s3://key:hidden@bucket/runs"];
    let early = cluster
        .with_storage(cluster.world.command(&early))
        .finish()
        .expect(78);
    assert!(!early.said().contains("hidden"), "{}", early.said());
    let nowhere = [
        right[0],
        "storage.endpoint=http://127.0.0.1:1",
        "storage.deadline=1",
    ];
    let nowhere = check(&nowhere, SECRET).expect(75);
    assert!(nowhere.out.contains("cannot be reached"), "{}", nowhere.out);
}
