//! A run that was stopped, killed or found its newest checkpoint damaged ends with the bits of an undisturbed one.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
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
    started(world, &SETS, "adapt", 1)
}

/// A run of two workers when a stage has left a checkpoint after `least` steps or more.
fn started(world: &World, sets: &[&str], stage: &str, least: u64) -> Program {
    let mut arguments = vec!["--workers", "2", "--set", "run.name=run"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    let mut program = world.start(&arguments);
    program.wait_for("a checkpoint of the stage", |event| {
        (event.text("message") == "checkpoint written"
            && event.text("stage") == stage
            && event.number("step") >= least)
            .then_some(())
    });
    program
}

/// A run directory whose coordinator and workers were all killed in the middle of adapt.
fn killed(world: &World) -> PathBuf {
    killed_at(in_the_middle(world), world)
}

fn killed_at(program: Program, world: &World) -> PathBuf {
    assert_eq!(program.kill_all().len(), 2, "both workers were announced");
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

/// Rewrites a checkpoint as versions before format 2 left it: with all of the state in one file.
fn rewrite_as_format_1(checkpoint: &Path) {
    let manifest_file = checkpoint.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&manifest_file).unwrap()).unwrap();
    let files: Vec<String> = manifest["files"].as_object().unwrap().keys().cloned().collect();
    assert!(files.len() > 1, "{files:?}");
    let (mut header, mut tensors) = (serde_json::Map::new(), Vec::new());
    for file in files {
        let bytes = fs::read(checkpoint.join(&file)).unwrap();
        fs::remove_file(checkpoint.join(&file)).unwrap();
        let (length, rest) = bytes.split_first_chunk().unwrap();
        let (own, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
        let own: serde_json::Map<String, Value> = serde_json::from_slice(own).unwrap();
        for (name, mut entry) in own {
            for offset in entry
                .get_mut("data_offsets")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                *offset = (offset.as_u64().unwrap() + tensors.len() as u64).into();
            }
            if name != "__metadata__" || file == "state.safetensors" {
                header.insert(name, entry);
            }
        }
        tensors.extend_from_slice(data);
    }
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let state = [&(header.len() as u64).to_le_bytes()[..], &header, &tensors].concat();
    let digest = blake3::hash(&state).to_hex().to_string();
    manifest["format"] = 1.into();
    manifest["files"] =
        serde_json::json!({"state.safetensors": {"blake3": digest, "size_bytes": state.len()}});
    fs::write(checkpoint.join("state.safetensors"), state).unwrap();
    fs::write(manifest_file, manifest.to_string()).unwrap();
}

/// docs/release.md: a checkpoint of format 1 is read, and a key that a run.toml lacks means what programs meant before there
/// was the key.
#[test]
fn a_run_directory_as_the_format_before_left_it_is_resumed_to_the_same_bits() {
    const LATER_KEYS: [&str; 8] = [
        "every_seconds",
        "nccl",
        "draw",
        "mix",
        "augment",
        "resize_feature",
        "domains_at_once",
        "step_size",
    ];
    let world = World::new();
    let run = killed(&world);
    checkpoints(&run)
        .iter()
        .for_each(|checkpoint| rewrite_as_format_1(checkpoint));
    let file = run.join("run.toml");
    let text = fs::read_to_string(&file).unwrap();
    let is_later = |line: &&str| {
        LATER_KEYS
            .iter()
            .any(|key| line.starts_with(&format!("{key} = ")))
    };
    let (later, kept): (Vec<&str>, Vec<&str>) = text.lines().partition(is_later);
    assert!(later.len() >= LATER_KEYS.len(), "{later:?}");
    fs::write(&file, kept.join("\n")).unwrap();
    resume(&world, &run, "3");
    assert_eq!(&world.finished("run"), undisturbed());
    let log = fs::read_to_string(run.join("logs/worker-0.log")).unwrap();
    assert!(
        log.contains("checkpoint read") && !warnings(&run).contains("passed over"),
        "{log}"
    );
}

#[test]
fn checkpoints_of_a_later_format_are_passed_over_with_a_sentence() {
    let world = World::new();
    let run = killed(&world);
    for checkpoint in checkpoints(&run) {
        let file = checkpoint.join("manifest.json");
        let text = fs::read_to_string(&file).unwrap();
        let later = text
            .replace("\"format\": 2", "\"format\": 3")
            .replace("\"format\":2", "\"format\":3");
        assert_ne!(later, text);
        fs::write(file, later).unwrap();
    }
    resume(&world, &run, "2");
    assert_eq!(&world.finished("run"), undisturbed());
    let warned = warnings(&run);
    assert!(
        warned.contains("its format is 3, this program reads 1 to 2"),
        "{warned}"
    );
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

/// Thirty rounds of simulate, with a checkpoint after each that the disk keeps up with: pieces of one round and of sixteen.
const ROUNDS: [&str; 5] = [
    "simulate.batches=60",
    "checkpoint.every_seconds=0",
    "checkpoint.keep=100",
    "run.end_after=simulate",
    "pretrain.steps=4",
];

fn undisturbed_rounds() -> &'static Final {
    static UNDISTURBED: OnceLock<Final> = OnceLock::new();
    UNDISTURBED.get_or_init(|| World::new().train("run", 2, &ROUNDS))
}

/// A run that was killed after seventeen rounds or some more.
fn killed_in_simulate(world: &World) -> PathBuf {
    killed_at(started(world, &ROUNDS, "simulate", 17), world)
}

/// Those in simulate, with the name that logs have.
fn checkpoints_of_rounds(run: &Path) -> Vec<(String, PathBuf)> {
    let named = checkpoints(run).into_iter().map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, path)
    });
    let of_rounds = |(name, _): &(String, PathBuf)| {
        let rounds = name.strip_prefix("simulate-");
        rounds.is_some_and(|rounds| rounds.parse() != Ok(0))
    };
    named.filter(of_rounds).collect()
}

/// A copy of the run whose newest checkpoint is `newest`.
fn copy_until(world: &World, run: &Path, newest: &str) -> PathBuf {
    let copy = world.path("moved").join(newest).join("run");
    copy_tree(run, &copy);
    for (name, later) in checkpoints_of_rounds(&copy) {
        if name.as_str() > newest {
            std::fs::remove_dir_all(later).unwrap();
        }
    }
    copy
}

/// Names of the files in a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_run_killed_in_simulate_goes_on_from_any_of_its_rounds() {
    let world = World::new();
    let run = killed_in_simulate(&world);
    let all = checkpoints_of_rounds(&run);
    let last = all.len() - 1;
    assert!(last >= 3, "{all:?}");
    assert_shared(&all);
    for (place, workers) in [(0, "1"), (last / 2, "3"), (last, "4")] {
        let newest = &all[place].0;
        let copy = copy_until(&world, &run, newest);
        resume(&world, &copy, workers);
        assert_eq!(&Final::of(&copy), undisturbed_rounds(), "{newest}");
        let log = std::fs::read_to_string(copy.join("logs/worker-0.log")).unwrap();
        let read = |line: &str| line.contains("checkpoint read") && line.contains(newest);
        assert!(log.lines().any(read), "{log}");
        assert!(
            !warnings(&copy).contains("checkpoint passed over"),
            "all were whole"
        );
    }
}

/// Each checkpoint shares with the one before the files that both have, but for what every round changes.
fn assert_shared(all: &[(String, PathBuf)]) {
    let inode = |folder: &Path, file: &str| std::fs::metadata(folder.join(file)).unwrap().ino();
    let mut shared = 0;
    for pair in all.windows(2) {
        let [(_, before), (name, after)] = pair else {
            continue;
        };
        let common = files(before).into_iter().filter(|file| after.join(file).exists());
        for file in common.filter(|file| file != "manifest.json") {
            let same = inode(before, &file) == inode(after, &file);
            assert_eq!(same, file != "state.safetensors", "{name}: {file}");
            shared += usize::from(same);
        }
    }
    assert!(shared >= all.len(), "{shared}");
    if let Some((name, newest)) = all.last() {
        let sixteen = "rounds-00000000-00000016.safetensors".to_owned();
        assert!(files(newest).contains(&sixteen), "{name}: {:?}", files(newest));
    }
}

#[test]
fn a_damaged_or_missing_part_is_found_by_its_digest() {
    const SOURCE: &str = "source.safetensors";
    let world = World::new();
    let run = killed_in_simulate(&world);
    let all = checkpoints_of_rounds(&run);
    let (newest, before) = (&all[all.len() - 1], &all[all.len() - 2].1);
    let mut own = files(&newest.1);
    own.retain(|file| file.starts_with("rounds-") && !before.join(file).exists());
    let own = own.pop().expect("it has a round that the one before lacks");
    let with_source = checkpoints(&run)
        .iter()
        .filter(|path| path.join(SOURCE).exists())
        .count();
    let remove: fn(&Path) = |part| std::fs::remove_file(part).unwrap();
    let cases = [
        (own.as_str(), remove, "No such file", 1),
        (&own, flip_file, "do not have the manifest's digest", 1),
        (SOURCE, remove, "No such file", 1),
        // All that hold it share it: the run goes on from the last checkpoint of pretrain.
        (
            SOURCE,
            flip_file,
            "do not have the manifest's digest",
            with_source,
        ),
    ];
    for (part, damage, told, passed_over) in cases {
        let copy = copy_until(&world, &run, &newest.0);
        let damaged = copy.join("checkpoints").join(&newest.0).join(part);
        damage(&damaged);
        if passed_over > 1 {
            // Copying the run has made files of their own of them.
            for other in checkpoints(&copy).iter().map(|path| path.join(part)) {
                if other.exists() && other != damaged {
                    std::fs::copy(&damaged, other).unwrap();
                }
            }
        }
        resume(&world, &copy, "2");
        assert_eq!(&Final::of(&copy), undisturbed_rounds(), "{part}: {told}");
        let warned = warnings(&copy);
        let found = warned.matches("checkpoint passed over").count();
        assert_eq!(found, passed_over, "{part}: {warned}");
        assert!(warned.contains(part) && warned.contains(told), "{warned}");
        std::fs::remove_dir_all(world.path("moved")).unwrap();
    }
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
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
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
    flip_file(&checkpoint.join("state.safetensors"));
}

fn flip_file(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
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
