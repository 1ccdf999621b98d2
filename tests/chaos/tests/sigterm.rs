//! SIGTERM in every stage: who gets it leaves in time and with its exit code, nothing that was committed is done
//! again, and the run comes to the undisturbed bits. A second one ends at once.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ulda_chaos::damage::checkpoints;
use ulda_chaos::journal::{Dated, committed, records};
use ulda_chaos::offspring::{self, Exit, Pid, Watched};
use ulda_chaos::patience::wait_for;
use ulda_chaos::world::{Binaries, Length, World, final_digest, start_logged, tail};
use ulda_coordinator::journal::{JournalReader, audit_journal};
use ulda_coordinator::run_directory::RunDirectory;
use ulda_machine::Record;
use ulda_run::stage::{Cursor, Stage};

/// Exit code of a worker that left because it was told to; whoever started it may start another.
const LEFT: i32 = 143;
/// `deadline.drain` of the world's run.toml.
const DRAIN: Duration = Duration::from_secs(10);
/// What the machine may take besides, busy as it may be.
const SLACK: Duration = Duration::from_secs(20);
/// Longest wait of a worker that ends for its coordinator to take its last words.
const FAREWELL: Duration = Duration::from_secs(15);
/// Longest wait for anything else.
const PATIENCE: Duration = Duration::from_secs(240);
const LENGTH: Length = Length {
    steps: 12,
    batches: 12,
};

/// The one world, for one test at a time: they look at all processes below this one.
fn world() -> (&'static World, MutexGuard<'static, ()>) {
    static WORLD: OnceLock<(tempfile::TempDir, World)> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    offspring::end_all();
    let (_, world) = WORLD.get_or_init(|| {
        offspring::adopt_orphans();
        let folder = tempfile::tempdir().unwrap();
        let binaries = Binaries::beside(Path::new(env!("CARGO_BIN_EXE_chaos"))).unwrap();
        let world = World::make(folder.path(), binaries, LENGTH).unwrap();
        (folder, world)
    });
    (world, turn)
}

/// When the signal comes.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Loading,
    In(Stage),
}

const MOMENTS: [Moment; 5] = [
    Moment::Loading,
    Moment::In(Stage::Pretrain),
    Moment::In(Stage::Simulate),
    Moment::In(Stage::Adapt),
    Moment::In(Stage::Evaluate),
];

struct Run<'a> {
    world: &'a World,
    name: &'static str,
    directory: RunDirectory,
    log: PathBuf,
}

impl<'a> Run<'a> {
    fn new(world: &'a World, name: &'static str) -> Self {
        Self {
            world,
            name,
            directory: world.run_directory(name),
            log: world.folder.join(format!("{name}.log")),
        }
    }

    fn train(&self, arguments: &[&str]) -> Watched {
        let mut command = Command::new(&self.world.binaries.coordinator);
        command.args(["--log", "json", "--workers", "2", "--config"]);
        command.arg(self.world.folder.join("run.toml"));
        command
            .args(["--set", &format!("run.name={}", self.name)])
            .args(arguments);
        Watched::new(start_logged(command, &self.log).unwrap())
    }

    fn resume(&self) -> Watched {
        let mut command = Command::new(&self.world.binaries.coordinator);
        command
            .arg("resume")
            .arg(self.directory.root())
            .args(["--log", "json"]);
        Watched::new(start_logged(command, &self.log).unwrap())
    }

    /// A worker that this test supervises.
    fn join(&self, slot: u32) -> Watched {
        let server = wait_for("the coordinator's address", PATIENCE, || {
            Ok(self.directory.last_server())
        });
        let mut command = Command::new(&self.world.binaries.worker);
        command.args(["join", "--run", self.name, "--slot", &slot.to_string()]);
        command.args(["--coordinator", &server.unwrap().url()]);
        command.arg("--credentials").arg(self.directory.credentials());
        command.env("OMP_NUM_THREADS", "1").env("RUST_LOG", "info");
        let log = self.directory.worker_log(slot);
        Watched::new(start_logged(command, &log).unwrap())
    }

    fn records(&self) -> Vec<Dated> {
        records(&self.directory.journal_file())
    }

    /// Waits until the middle of a stage. What is committed by then.
    fn reach(&self, stage: Stage) -> Cursor {
        let steps = self.world.course.steps(stage);
        let what = format!("the middle of {stage}");
        wait_for(&what, PATIENCE, || {
            let at = committed(&self.records()).filter(|at| at.stage >= stage && at.step > 0);
            Ok(at.inspect(|at| {
                assert!(
                    at.stage == stage && at.step < steps,
                    "{stage} was over before it was disturbed: {at}"
                );
            }))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", tail(&self.log, 10)))
    }

    /// Its last coordinator ended well, and nothing shows of what happened.
    fn assert_undisturbed(&self, coordinator: &Watched) {
        let exit = wait_for("the run to end", PATIENCE, || Ok(coordinator.ended())).unwrap();
        assert_eq!(exit, Exit::Code(0), "{}", tail(&self.log, 10));
        assert_eq!(final_digest(&self.directory).as_ref(), Some(&self.world.digest));
        let journal = JournalReader::open(&self.directory.journal_file()).unwrap();
        audit_journal(&journal).unwrap();
        let mut last = None;
        for Dated { record, .. } in self.records() {
            match record {
                Record::Committed { state, .. } => last = last.max(Some(state.cursor)),
                Record::GenerationStarted { state, .. } => {
                    let from = state.map(|state| state.cursor);
                    assert!(from >= last, "a generation went back from {last:?} to {from:?}");
                }
                _ => {}
            }
        }
    }
}

/// How it ended, within the time it has.
fn leaves(what: &str, process: &Watched, limit: Duration) -> Exit {
    wait_for(what, limit, || Ok(process.ended())).unwrap()
}

#[test]
fn a_worker_told_to_leave_in_any_stage_leaves_in_time_and_nothing_is_done_again() {
    let (world, _turn) = world();
    let run = Run::new(world, "worker");
    let coordinator = run.train(&["--no-launch"]);
    let _other = run.join(0);
    let mut worker = run.join(1);
    for moment in MOMENTS {
        match moment {
            Moment::Loading => wait_for("the worker to join", PATIENCE, || {
                let joined =
                    |dated: &Dated| matches!(&dated.record, Record::WorkerJoined { slot, .. } if slot.0 == 1);
                Ok(run.records().iter().any(joined).then_some(()))
            })
            .unwrap(),
            Moment::In(stage) => drop(run.reach(stage)),
        }
        worker.pid.signal(libc::SIGTERM);
        let exit = leaves(
            &format!("the worker to leave, {moment:?}"),
            &worker,
            DRAIN + SLACK,
        );
        assert_eq!(exit, Exit::Code(LEFT), "{moment:?}");
        worker = run.join(1);
    }
    run.assert_undisturbed(&coordinator);
    offspring::end_all();
}

#[test]
fn a_coordinator_told_to_leave_in_any_stage_takes_all_along_and_nothing_is_done_again() {
    let (world, _turn) = world();
    let run = Run::new(world, "coordinator");
    let mut coordinator = run.train(&[]);
    for moment in MOMENTS {
        let at = match moment {
            Moment::Loading => {
                wait_for("workers to be started", PATIENCE, || {
                    Ok((!offspring::workers().is_empty()).then_some(()))
                })
                .unwrap();
                None
            }
            Moment::In(stage) => Some(run.reach(stage)),
        };
        coordinator.pid.signal(libc::SIGTERM);
        let exit = leaves(
            &format!("the coordinator to leave, {moment:?}"),
            &coordinator,
            DRAIN + SLACK,
        );
        assert_eq!(exit, Exit::Code(143), "{moment:?}: {}", tail(&run.log, 10));
        assert!(offspring::workers().is_empty(), "{moment:?}");
        let kept = checkpoints(&run.directory.root().join("checkpoints")).pop();
        let kept = kept.map(|(cursor, _)| cursor);
        assert!(
            kept >= at && kept >= committed(&run.records()),
            "{moment:?}: {kept:?}"
        );
        coordinator = run.resume();
    }
    run.assert_undisturbed(&coordinator);
    offspring::end_all();
}

#[test]
fn a_worker_whose_coordinator_is_away_leaves_as_well() {
    let (world, _turn) = world();
    let run = Run::new(world, "alone");
    let coordinator = run.train(&["--no-launch"]);
    let (leaver, _other) = (run.join(0), run.join(1));
    let at = run.reach(Stage::Pretrain);
    coordinator.kill().unwrap();
    // Its stream is broken, and it looks for a coordinator now and then.
    wait_for("nothing", Duration::from_millis(300), || Ok(None::<()>)).unwrap_err();
    leaver.pid.signal(libc::SIGTERM);
    let exit = leaves("the worker", &leaver, DRAIN + FAREWELL + SLACK);
    assert_eq!(
        exit,
        Exit::Code(143),
        "{}",
        tail(&run.directory.worker_log(0), 10)
    );
    let kept = checkpoints(&run.directory.root().join("checkpoints")).pop();
    assert!(kept.map(|(cursor, _)| cursor) >= Some(at));
    offspring::end_all();
}

#[test]
fn a_second_signal_ends_at_once() {
    let (world, _turn) = world();
    let run = Run::new(world, "twice");
    let coordinator = run.train(&["--no-launch"]);
    let (stopped, worker) = (run.join(0), run.join(1));
    run.reach(Stage::Pretrain);
    // Nobody can end the step in flight, once the other worker has done what it had already received.
    stopped.pid.signal(libc::SIGSTOP);
    wait_for("nothing", Duration::from_millis(500), || Ok(None::<()>)).unwrap_err();
    ends_by_the_second("the worker", &worker);
    ends_by_the_second("the coordinator", &coordinator);
    offspring::end_all();
}

fn ends_by_the_second(what: &str, process: &Watched) {
    process.pid.signal(libc::SIGTERM);
    let patient = wait_for(what, Duration::from_millis(500), || Ok(process.ended()));
    assert!(patient.is_err(), "{what} ended by the first signal: {patient:?}");
    let second = Instant::now();
    process.pid.signal(libc::SIGTERM);
    assert_eq!(leaves(what, process, SLACK), Exit::Code(143));
    assert!(second.elapsed() < DRAIN, "{what} took {:?}", second.elapsed());
    let Pid(id) = process.pid;
    assert!(!Path::new(&format!("/proc/{id}")).exists());
}
