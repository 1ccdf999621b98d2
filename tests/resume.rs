//! A run that was stopped, killed or found its newest checkpoint damaged ends with the bits of an undisturbed one.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ulda_tests::{Final, Json, Program, World, checkpoints, copy_tree};

/// Long enough to be interrupted in its middle.
const SETS: [&str; 4] = [
    "adapt.steps=80",
    "adapt.validate_every=20",
    "checkpoint.every=10",
    "checkpoint.keep=3",
];

/// The run as it ends when nothing happens to it.
fn undisturbed() -> &'static Final {
    static UNDISTURBED: OnceLock<Final> = OnceLock::new();
    UNDISTURBED.get_or_init(|| World::new().train("run", 2, &SETS))
}

/// The run, served by two workers, when adapt has left its first checkpoint.
fn in_the_middle(world: &World) -> Program {
    let mut arguments = vec!["--workers", "2", "--set", "run.name=run"];
    arguments.extend(SETS.iter().flat_map(|set| ["--set", set]));
    let mut program = world.start(&arguments);
    program.wait_for("a checkpoint of adapt", |event| {
        (event.text("message") == "checkpoint written"
            && event.text("stage") == "adapt"
            && event.number("step") > 0)
            .then_some(())
    });
    program
}

/// A run directory whose coordinator and workers were all killed in the middle of adapt.
fn killed(world: &World) -> PathBuf {
    assert_eq!(
        in_the_middle(world).kill_all().len(),
        2,
        "both workers were announced"
    );
    let run = world.path("runs/run");
    assert!(!run.join("checkpoints/final").exists(), "it was not over yet");
    run
}

fn resume(world: &World, run: &Path, workers: &str) {
    let run = run.to_str().unwrap();
    let _ = world
        .start(&["resume", run, "--workers", workers])
        .finish()
        .expect(0);
}

/// The worker's warnings.
fn warnings(run: &Path) -> String {
    let log = std::fs::read_to_string(run.join("logs/worker-0.log")).unwrap();
    let warned = |line: &&str| Json::parse(line).is_some_and(|event| event.text("level") == "WARN");
    log.lines().filter(warned).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_stopped_run_goes_on_with_more_workers() {
    let world = World::new();
    let training = in_the_middle(&world);
    let stopped = world.start(&["stop", "runs/run"]).finish().expect(0);
    assert!(
        stopped
            .err
            .contains("continue with `coordinator resume runs/run`"),
        "{}",
        stopped.err
    );
    let trained = training.finish().expect(143);
    assert!(
        trained
            .err
            .contains("continue with `coordinator resume runs/run`"),
        "{}",
        trained.err
    );
    assert!(
        !world.path("runs/run/checkpoints/final").exists(),
        "it was not over yet"
    );
    resume(&world, &world.path("runs/run"), "4");
    assert_eq!(&world.finished("run"), undisturbed());
}

#[test]
fn an_interrupted_run_goes_on_with_fewer_workers() {
    let world = World::new();
    let training = in_the_middle(&world);
    training.signal(libc::SIGINT);
    let _ = training.finish().expect(130);
    let sets = SETS.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["--resume", "--set", "run.name=run"]
        .into_iter()
        .chain(sets)
        .collect();
    let _ = world.start(&arguments).finish().expect(0);
    assert_eq!(&world.finished("run"), undisturbed());
}

#[test]
fn a_run_that_lost_every_process_goes_on_from_its_newest_whole_checkpoint() {
    let world = World::new();
    let run = killed(&world);
    for (damage, told) in DAMAGES {
        let folder = world.path("moved");
        let copy = folder.join("run");
        copy_tree(&run, &copy);
        let newest = checkpoints(&copy).pop().expect("it left checkpoints");
        damage(&newest);
        resume(&world, &copy, "3");
        assert_eq!(&Final::of(&copy), undisturbed(), "{told}");
        let warned = warnings(&copy);
        let name = newest.file_name().unwrap().to_str().unwrap();
        assert!(
            warned.contains("checkpoint passed over") && warned.contains(name) && warned.contains(told),
            "{warned}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
    resume(&world, &run, "1");
    assert_eq!(&Final::of(&run), undisturbed());
    assert!(
        !warnings(&run).contains("checkpoint passed over"),
        "all were whole"
    );
}

#[test]
fn a_run_whose_checkpoints_are_all_damaged_says_so_and_comes_to_the_same_end() {
    let world = World::new();
    let run = killed(&world);
    let all = checkpoints(&run);
    all.iter().for_each(|checkpoint| cut(checkpoint));
    resume(&world, &run, "2");
    assert_eq!(&Final::of(&run), undisturbed());
    let warned = warnings(&run);
    assert_eq!(
        warned.matches("checkpoint passed over").count(),
        all.len(),
        "{warned}"
    );
}

/// A way in which a checkpoint breaks, and what the worker says of it.
type Damage = (fn(&Path), &'static str);

const DAMAGES: [Damage; 5] = [
    (cut, "bytes, the manifest says"),
    (tear, "do not have the manifest's digest"),
    (flip, "do not have the manifest's digest"),
    (drop_manifest, "manifest.json"),
    (cut_manifest, "EOF while parsing"),
];

fn cut(checkpoint: &Path) {
    let file = checkpoint.join("state.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1000]).unwrap();
}

/// The length reached the disk, the last blocks did not.
fn tear(checkpoint: &Path) {
    let file = checkpoint.join("state.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let kept = bytes.len() * 3 / 4;
    bytes[kept..].fill(0);
    std::fs::write(&file, bytes).unwrap();
}

fn flip(checkpoint: &Path) {
    let file = checkpoint.join("state.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
}

fn drop_manifest(checkpoint: &Path) {
    std::fs::remove_file(checkpoint.join("manifest.json")).unwrap();
}

fn cut_manifest(checkpoint: &Path) {
    let file = checkpoint.join("manifest.json");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn a_run_directory_is_only_for_its_own_run() {
    let world = World::new();
    let trained = world.train("small", 2, &[]);
    let other = ["--set", "adapt.lr_head=0.5", "--resume"];
    let refused = world.start(&other).finish().expect(78);
    for words in [
        "holds another run",
        "adapt.lr_head",
        "0.5",
        "hint: give this run its own run.name",
    ] {
        assert!(refused.err.contains(words), "{words}: {}", refused.err);
    }
    let twice = world.start(&[]).finish().expect(78);
    assert!(
        twice.err.contains("already holds this run") && twice.err.contains("coordinator resume"),
        "{}",
        twice.err
    );
    assert_eq!(world.finished("small"), trained, "a refusal touches nothing");
}

#[test]
fn a_finished_run_that_is_resumed_says_that_it_is_finished() {
    let world = World::new();
    let trained = world.train("small", 1, &[]);
    for arguments in [&["--resume"][..], &["resume", "runs/small", "--workers", "2"]] {
        let again = world.start(arguments).finish().expect(0);
        assert!(again.err.contains("is finished already"), "{}", again.err);
        assert!(
            !again.err.contains("worker started"),
            "nothing is left to do: {}",
            again.err
        );
        assert!(
            again.out.contains("adapted"),
            "its scores are shown: {}",
            again.out
        );
    }
    assert_eq!(world.finished("small"), trained);
}
