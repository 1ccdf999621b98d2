//! The machine: ports, disks, programs, and other runs.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use ulda_tests::{Final, Program, World};

use super::case::{BAD_INPUT, Case, DISK_REFUSES, UNAVAILABLE, contents, hold, nothing};

const CASES: &[Case] = &[
    Case {
        name: "no worker program",
        breaks: nothing,
        command: &["--worker-binary", "none"],
        code: BAD_INPUT,
        says: &[
            "`--worker-binary`",
            "none` does not exist",
            "build it with `make`",
        ],
    },
    Case {
        name: "worker program that cannot be executed",
        breaks: nothing,
        command: &["--worker-binary", "run.toml"],
        code: BAD_INPUT,
        says: &["run.toml", "cannot be started", "--worker-binary"],
    },
    Case {
        name: "worker program that is something else",
        breaks: |world| {
            let path = world.path("other");
            std::fs::write(&path, "#!/bin/sh\necho I am no worker >&2\nexit 3\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        },
        command: &["--worker-binary", "other"],
        code: BAD_INPUT,
        says: &["other check` ended with", "3: I am no worker", "hint:"],
    },
    Case {
        name: "run directory below a file",
        breaks: nothing,
        command: &["--set", "run.directory=run.toml/runs"],
        code: BAD_INPUT,
        says: &[
            "`run.directory`",
            "run.toml` is not a folder",
            "name another folder",
        ],
    },
    Case {
        name: "foreign folder in the run's place",
        breaks: |world| {
            std::fs::create_dir_all(world.path("runs/small")).unwrap();
            std::fs::write(world.path("runs/small/thesis.tex"), "precious").unwrap();
        },
        command: &[],
        code: BAD_INPUT,
        says: &[
            "runs/small` is not empty and holds no run",
            "choose another run.name",
        ],
    },
    Case {
        name: "damaged run.toml in the run directory",
        breaks: |world| {
            std::fs::create_dir_all(world.path("runs/small")).unwrap();
            std::fs::write(world.path("runs/small/run.toml"), "[run\n").unwrap();
        },
        command: &["--resume"],
        code: BAD_INPUT,
        says: &["runs/small/run.toml` is damaged", "restore it"],
    },
];

#[test]
fn wrong_machines() {
    hold(CASES, World::new);
}

#[test]
fn a_taken_port_is_told_and_nothing_is_made() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for verb in [&[][..], &["check"]] {
        let arguments: Vec<&str> = verb.iter().copied().chain(["--listen", &address]).collect();
        let refused = world.start(&arguments).finish();
        let said = refused.said();
        assert_eq!(
            refused.code,
            Some(if verb.is_empty() { UNAVAILABLE } else { BAD_INPUT }),
            "{said}"
        );
        assert!(said.contains(&format!("address {address} is taken")), "{said}");
        assert!(said.contains("hint: give another port with --listen"), "{said}");
        assert!(!world.path("runs").exists());
    }
}

#[test]
fn a_run_is_served_by_one_coordinator_at_a_time() {
    let world = World::new();
    let mut first = world.start(&["--set", "adapt.steps=2000"]);
    first.wait_for("training", |event| {
        event.text("message").starts_with("training").then_some(())
    });
    for second in [
        &["--resume", "--set", "adapt.steps=2000"][..],
        &["resume", "runs/small"],
    ] {
        let refused = world.start(second).finish().expect(UNAVAILABLE);
        for words in [
            "is served by another coordinator",
            &first.id().to_string(),
            "coordinator stop",
        ] {
            assert!(refused.err.contains(words), "{words}: {}", refused.err);
        }
    }
    first.signal(libc::SIGTERM);
    let _ = first.finish().expect(143);
}

#[test]
fn a_step_that_does_not_fit_into_memory_is_told_with_what_to_lower() {
    let world = World::new();
    // One shard, so that what does not fit is a buffer of a GiB and nothing small.
    let sets = [
        "run.shards=1",
        "simulate.data_shards=1",
        "simulate.prompt_groups=1",
        "pretrain.head_channels=4096",
    ];
    let wanted = ["--workers", "1"]
        .into_iter()
        .chain(sets.iter().flat_map(|set| ["--set", set]));
    let wanted: Vec<&str> = wanted.collect();
    let roomy = world.command(&wanted);
    // Address space, in KiB: enough for the programs, not for such a head.
    let mut cramped = Command::new("sh");
    cramped
        .args(["-c", "ulimit -v 4000000; exec \"$0\" \"$@\""])
        .arg(roomy.get_program())
        .args(roomy.get_args())
        .current_dir(roomy.get_current_dir().unwrap())
        .env("NO_COLOR", "1");
    let ended = Program::start(cramped).finish().expect(BAD_INPUT);
    assert_says(
        &ended.err,
        &[
            "out of memory on the CPU in pretrain step 0",
            "were asked for; a shard's images are [6, 3, 64, 64]",
            "hint: lower pretrain.batch (6) or pretrain.crop (64)",
            "pretrain.head_channels (4096)",
        ],
    );
}

/// A file system of its own for the runs; unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None` where this user may not mount.
    fn mount(folder: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&folder);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("SKIPPED: this user may not mount a file system of its own");
        }
        mounted.then_some(Self(folder))
    }

    /// Takes all that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        let mut size = 1 << 20;
        while size > 0 {
            match file.write(&vec![0; size]) {
                Ok(written) if written > 0 => {}
                Ok(_) | Err(_) => size /= 2,
            }
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A lazy unmount holds even if a process that is just ending still has a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn assert_says(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "does not say `{words}`:\n{said}");
    }
}

#[test]
fn a_disk_that_is_too_small_or_read_only_is_found_before_the_start() {
    let world = World::new();
    for (options, words) in [
        (
            "size=1m",
            [
                "MiB free, and the run needs about",
                "free some, lower checkpoint.keep",
            ],
        ),
        (
            "size=200m,ro",
            [
                "cannot be written to",
                "name another folder, or change its permissions",
            ],
        ),
    ] {
        let Some(disk) = Disk::mount(world.path("runs"), options) else {
            return;
        };
        let refused = world.start(&[]).finish().expect(BAD_INPUT);
        assert_says(&refused.err, &["`run.directory`", words[0], words[1]]);
        assert!(contents(&disk.0).is_empty(), "{options}");
    }
}

#[test]
fn a_disk_that_fills_up_costs_no_work_that_was_done() {
    let world = World::new();
    let Some(disk) = Disk::mount(world.path("runs"), "size=300m") else {
        return;
    };
    let sets = ["--set", "adapt.steps=60", "--set", "checkpoint.every=10"];
    let mut training = world.start(&sets);
    training.wait_for("a checkpoint of adapt", |event| {
        (event.text("message") == "checkpoint written" && event.text("stage") == "adapt").then_some(())
    });
    let ballast = disk.fill();
    let failed = training.finish().expect(DISK_REFUSES);
    assert_says(
        &failed.said(),
        &["no space left", "hint: free some", "the workers train on"],
    );
    let again = world
        .start(&["resume", "runs/small"])
        .finish()
        .expect(DISK_REFUSES);
    assert_says(&again.err, &["no space left", "hint: free some"]);
    std::fs::remove_file(ballast).unwrap();
    let _ = world.start(&["resume", "runs/small"]).finish().expect(0);
    let trained = world.finished("small");
    assert_eq!(trained, undisturbed(&sets));
}

/// What the same run comes to on a disk with room.
fn undisturbed(sets: &[&str]) -> Final {
    let world = World::new();
    let _ = world.start(sets).finish().expect(0);
    world.finished("small")
}
