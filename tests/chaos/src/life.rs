//! One run and the faults it is given.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ulda_coordinator::run_directory::RunDirectory;
use ulda_core::stage::Cursor;

use crate::ChaosError;
use crate::desk::Desk;
use crate::disk::SmallDisk;
use crate::fault::{Fault, Kind};
use crate::journal::{committed, generation, records, steps_before};
use crate::offspring::{self, Exit, Pid};
use crate::patience::{pass, wait_for};
use crate::recovery::{Inflicted, Recovery, recoveries};
use crate::sequence::{Moment, Planned, Sequence};
use crate::shim;
use crate::world::{World, final_digest, start_logged, tail};

/// Longest wait for a coordinator that was asked to leave.
const LEAVE: Duration = Duration::from_secs(40);

/// What came of a life.
#[derive(Debug)]
pub struct Verdict {
    pub inflicted: Vec<Inflicted>,
    pub recoveries: Vec<Recovery>,
    pub wall: Duration,
    /// What is wrong with it; `None` where it ended with the undisturbed digest.
    pub fault: Option<String>,
}

struct Life<'a> {
    world: &'a World,
    name: String,
    directory: RunDirectory,
    desk: Option<Desk>,
    disk: Option<SmallDisk>,
    coordinator: Pid,
    stopped: Vec<Pid>,
    extra: u32,
    log: PathBuf,
    ends: Instant,
    inflicted: Vec<Inflicted>,
    alone: Option<u64>,
}

enum Reached {
    Moment,
    /// The run was over before.
    End,
}

/// Trains one run with the faults of `sequence`. No process is left afterwards.
///
/// # Errors
/// The harness itself failed or was interrupted; what is wrong with the run is told in the verdict.
pub fn live(world: &World, sequence: &Sequence, limit: Duration) -> Result<Verdict, ChaosError> {
    let started = Instant::now();
    let name = format!("life-{}", sequence.seed);
    let directory = world.run_directory(&name);
    let desk = match sequence.wired {
        true => Some(Desk::open().map_err(ChaosError::Desk)?),
        false => None,
    };
    let log = world.folder.join(format!("{name}.log"));
    let mut life = Life {
        world,
        name,
        directory,
        desk,
        disk: None,
        coordinator: Pid(0),
        stopped: Vec::new(),
        extra: 0,
        log,
        ends: started + limit,
        inflicted: Vec::new(),
        alone: None,
    };
    let outcome = life.all(sequence);
    let fault = match outcome {
        Ok(()) => life.wrong_digest(),
        Err(ChaosError::Interrupted) => {
            offspring::end_all();
            return Err(ChaosError::Interrupted);
        }
        Err(error) => Some(life.testimony(&error)),
    };
    offspring::end_all();
    let journal = records(&life.directory.journal_file());
    Ok(Verdict {
        recoveries: recoveries(&life.inflicted, &journal),
        inflicted: life.inflicted,
        wall: started.elapsed(),
        fault,
    })
}

impl Life<'_> {
    fn all(&mut self, sequence: &Sequence) -> Result<(), ChaosError> {
        self.coordinator = self.train(sequence.workers)?;
        if sequence
            .faults
            .iter()
            .any(|planned| planned.fault.kind == Kind::FullDisk)
        {
            let folder = self.directory.root().join("checkpoints");
            wait_for("the folder of checkpoints", self.left(), || {
                Ok(folder.is_dir().then_some(()))
            })?;
            self.disk = Some(SmallDisk::mount(&folder)?);
        }
        for planned in &sequence.faults {
            match self.reach(planned)? {
                Reached::End => return Ok(()),
                Reached::Moment => self.inflict(planned.fault)?,
            }
        }
        self.release();
        self.see_out()
    }

    fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.world.binaries.coordinator);
        if let Some(desk) = &self.desk {
            command.env(shim::DESK, desk.address().to_string());
            command.env(shim::WORKER, &self.world.binaries.worker);
            command.env("ULDA_WORKER", &self.world.binaries.chaos);
        } else {
            command.env("ULDA_WORKER", &self.world.binaries.worker);
        }
        command
    }

    fn train(&self, workers: u32) -> Result<Pid, ChaosError> {
        let mut command = self.command();
        // `--resume` makes no difference, except to a run whose directory was made before its coordinator died.
        command.args(["--log", "json", "--resume", "--workers", &workers.to_string()]);
        command.arg("--config").arg(self.world.folder.join("run.toml"));
        command.args(["--set", &format!("run.name={}", self.name)]);
        start_logged(command, &self.log)
    }

    fn resume(&self, workers: Option<u32>) -> Result<Pid, ChaosError> {
        if !self.directory.holds_a_run() {
            return self.train(workers.unwrap_or(2));
        }
        let mut command = self.command();
        command
            .arg("resume")
            .arg(self.directory.root())
            .args(["--log", "json"]);
        if let Some(workers) = workers {
            command.args(["--workers", &workers.to_string()]);
        }
        start_logged(command, &self.log)
    }

    /// Whether the run is over; a coordinator that ended otherwise is an error.
    fn over(&self) -> Result<bool, ChaosError> {
        match self.coordinator.ended() {
            None => Ok(false),
            Some(Exit::Code(0)) => Ok(true),
            Some(exit) => Err(self.ended_badly(exit)),
        }
    }

    fn ended_badly(&self, exit: Exit) -> ChaosError {
        ChaosError::Ended {
            what: "the coordinator".to_owned(),
            status: exit.to_string(),
            tail: tail(&self.log, 5),
        }
    }

    fn steps_done(&self) -> Option<u64> {
        let cursor = committed(&records(&self.directory.journal_file()))?;
        Some(steps_before(&self.world.course, cursor))
    }

    /// Steps before the newest checkpoint: what the run has come to, whether or not a coordinator heard of it.
    fn steps_on_disk(&self) -> u64 {
        let folder = self.directory.root().join("checkpoints");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let steps = entries.filter_map(|entry| {
            let name = entry.file_name();
            let (stage, step) = name.to_str()?.split_once('-')?;
            let cursor = Cursor {
                stage: stage.parse().ok()?,
                step: step.parse().ok()?,
            };
            Some(steps_before(&self.world.course, cursor))
        });
        steps.max().unwrap_or(0)
    }

    fn reach(&self, planned: &Planned) -> Result<Reached, ChaosError> {
        let reached = wait_for("the moment of the next fault", self.left(), || {
            if self.over()? {
                return Ok(Some(Reached::End));
            }
            let there = match planned.moment {
                Moment::Chained => true,
                // Before the first step is committed, a worker is loading or forming.
                Moment::Step(0) => self.directory.journal_file().is_file(),
                Moment::Step(step) => self.steps_done().is_some_and(|done| done >= step),
            };
            Ok(there.then_some(Reached::Moment))
        })?;
        if let Reached::Moment = reached {
            pass(planned.delay)?;
            if self.over()? {
                return Ok(Reached::End);
            }
        }
        Ok(reached)
    }

    fn victim(&self, fault: Fault) -> Option<(u32, Pid)> {
        let workers: Vec<(u32, Pid)> = offspring::workers().into_iter().collect();
        // The lowest one dials all others, so no connection leads to its data plane.
        let skipped = usize::from(matches!(fault.kind, Kind::CutData | Kind::StallData));
        let choice = workers.get(skipped..)?;
        choice.get(fault.victim as usize % choice.len().max(1)).copied()
    }

    /// Those that were stopped for good find out that they were replaced.
    fn release(&mut self) {
        for pid in self.stopped.drain(..) {
            pid.signal(libc::SIGCONT);
        }
    }

    fn inflict(&mut self, fault: Fault) -> Result<(), ChaosError> {
        self.release();
        let generation = generation(&records(&self.directory.journal_file()));
        let at = now_millis();
        let done = self.act(fault)?;
        if done {
            self.inflicted.push(Inflicted {
                fault,
                at,
                generation,
                over_at: now_millis(),
                alone: self.alone.take(),
            });
        }
        Ok(())
    }

    /// False where there was nobody to do it to.
    fn act(&mut self, fault: Fault) -> Result<bool, ChaosError> {
        let victim = self.victim(fault);
        match fault.kind {
            Kind::KillWorker | Kind::TerminateWorker | Kind::HangWorker | Kind::PauseWorker => {
                let Some((_, pid)) = victim else { return Ok(false) };
                match fault.kind {
                    Kind::KillWorker => pid.signal(libc::SIGKILL),
                    Kind::TerminateWorker => pid.signal(libc::SIGTERM),
                    _ => pid.signal(libc::SIGSTOP),
                }
                match fault.kind {
                    Kind::PauseWorker => {
                        pass(fault.time)?;
                        pid.signal(libc::SIGCONT);
                    }
                    Kind::HangWorker => self.stopped.push(pid),
                    _ => {}
                }
            }
            Kind::KillAllWorkers => {
                let workers = offspring::workers();
                workers.values().for_each(|pid| pid.signal(libc::SIGKILL));
                return Ok(!workers.is_empty());
            }
            Kind::ExtraWorker => return self.add_worker(),
            Kind::KillCoordinator => {
                self.coordinator.kill()?;
                let before = self.steps_on_disk();
                pass(fault.time)?;
                self.alone = Some(self.steps_on_disk().saturating_sub(before));
                self.coordinator = self.resume(None)?;
            }
            Kind::PauseCoordinator => {
                self.coordinator.signal(libc::SIGSTOP);
                pass(fault.time)?;
                self.coordinator.signal(libc::SIGCONT);
            }
            Kind::RestartCoordinator => return self.restart(fault.workers),
            Kind::KillEverything => {
                self.coordinator.signal(libc::SIGKILL);
                offspring::workers()
                    .values()
                    .for_each(|pid| pid.signal(libc::SIGKILL));
                self.coordinator.kill()?;
                self.coordinator = self.resume(Some(fault.workers))?;
            }
            Kind::CutData | Kind::StallData | Kind::CutControl | Kind::StallControl => {
                let (Some(desk), Some((slot, _))) = (&self.desk, victim) else {
                    return Ok(false);
                };
                return Ok(desk.with_wires(slot, |wires| match fault.kind {
                    Kind::CutData => wires.data.cut(),
                    Kind::StallData => wires.data.stall(fault.time),
                    Kind::CutControl => wires.control.cut(),
                    _ => wires.control.stall(fault.time),
                }));
            }
            Kind::FullDisk => {
                let Some(disk) = &self.disk else { return Ok(false) };
                disk.fill();
                let passed = pass(fault.time);
                disk.free();
                passed?;
            }
        }
        Ok(true)
    }

    fn add_worker(&mut self) -> Result<bool, ChaosError> {
        let Some(server) = self.directory.last_server() else {
            return Ok(false);
        };
        self.extra += 1;
        let slot = 10 + self.extra;
        let mut command = Command::new(&self.world.binaries.worker);
        command.args(["join", "--run", &self.name, "--slot", &slot.to_string()]);
        command.args(["--coordinator", &server.url()]);
        command.arg("--credentials").arg(self.directory.credentials());
        command.env("OMP_NUM_THREADS", "1").env("RUST_LOG", "info");
        start_logged(command, &self.directory.worker_log(slot))?;
        Ok(true)
    }

    /// Asks the coordinator to leave and starts another one. It may have finished the run meanwhile.
    fn restart(&mut self, workers: u32) -> Result<bool, ChaosError> {
        self.coordinator.signal(libc::SIGTERM);
        let limit = LEAVE.min(self.left());
        let exit = wait_for("the coordinator to leave after SIGTERM", limit, || {
            Ok(self.coordinator.ended())
        })?;
        match exit {
            // The signal itself ends a coordinator that has not begun to listen.
            Exit::Code(0 | 143) | Exit::Signal(libc::SIGTERM) => {}
            exit => return Err(self.ended_badly(exit)),
        }
        self.coordinator = self.resume(Some(workers))?;
        Ok(true)
    }

    fn see_out(&self) -> Result<(), ChaosError> {
        wait_for("the run to end", self.left(), || Ok(self.over()?.then_some(())))
    }

    fn wrong_digest(&self) -> Option<String> {
        match final_digest(&self.directory) {
            Some(digest) if digest == self.world.digest => None,
            Some(digest) => Some(format!(
                "the final digest differs:\n  {digest}\n  undisturbed: {}",
                self.world.digest
            )),
            None => Some("the run ended well, but left no final model".to_owned()),
        }
    }

    /// Who waited for whom when it went wrong.
    fn testimony(&self, error: &ChaosError) -> String {
        let mut text = format!("{error}\n");
        let mut note = |whose: &str, lines: &str| {
            let _ = writeln!(text, "  --- {whose}\n{lines}");
        };
        note("coordinator", &tail(&self.log, 12));
        let alive = offspring::workers();
        let mut logs: Vec<PathBuf> = std::fs::read_dir(self.directory.root().join("logs"))
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        logs.sort();
        for log in logs {
            note(&log.display().to_string(), &tail(&log, 6));
        }
        note("workers alive", &format!("{alive:?}"));
        text
    }
}

fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
