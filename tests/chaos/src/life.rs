//! One run and the faults it is given.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ulda_coordinator::journal::{JournalReader, audit_journal};
use ulda_coordinator::run_directory::RunDirectory;

use crate::ChaosError;
use crate::damage::checkpoints;
use crate::deployment::Deployment;
use crate::disk::SmallDisk;
use crate::fault::Kind;
use crate::journal::{committed, records, steps_before};
use crate::offspring::{self, Exit, Pid, Watched};
use crate::patience::{pass, wait_for};
use crate::recovery::{Inflicted, Recovery, recoveries};
use crate::sequence::{Moment, Planned, Sequence};
use crate::world::{World, final_digest, start_logged, tail};

/// What came of a life.
#[derive(Debug)]
pub struct Verdict {
    pub inflicted: Vec<Inflicted>,
    pub recoveries: Vec<Recovery>,
    pub wall: Duration,
    /// What is wrong with it; `None` where it ended with the undisturbed digest.
    pub fault: Option<String>,
}

pub(crate) struct Life<'a> {
    pub world: &'a World,
    pub name: String,
    pub directory: RunDirectory,
    pub deployment: Deployment,
    /// Under the journal and the logs, where a fault fills it.
    pub run_disk: Option<SmallDisk>,
    /// Under the checkpoints, where a fault fills it.
    pub checkpoint_disk: Option<SmallDisk>,
    pub coordinator: Watched,
    pub stopped: Vec<Pid>,
    /// Names of checkpoints that were damaged: a worker has to say that it passed over each.
    pub damaged: Vec<String>,
    pub log: PathBuf,
    ends: Instant,
    pub inflicted: Vec<Inflicted>,
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
    let deployment = Deployment::open(sequence.site, world, &name, sequence.seed)?;
    let log = world.folder.join(format!("{name}.log"));
    let mut life = Life {
        world,
        name,
        directory,
        deployment,
        run_disk: None,
        checkpoint_disk: None,
        coordinator: Watched::new(Pid(0)),
        stopped: Vec::new(),
        damaged: Vec::new(),
        log,
        ends: started + limit,
        inflicted: Vec::new(),
    };
    let outcome = life.all(sequence);
    let fault = match outcome {
        Ok(()) => life.fault(),
        Err(ChaosError::Interrupted) => {
            offspring::end_all();
            return Err(ChaosError::Interrupted);
        }
        Err(error) => Some(life.testimony(&error)),
    };
    offspring::end_all();
    let journal = records(&life.directory.journal_file());
    life.leave_files()?;
    Ok(Verdict {
        recoveries: recoveries(&life.inflicted, &journal),
        inflicted: life.inflicted,
        wall: started.elapsed(),
        fault,
    })
}

impl Life<'_> {
    fn all(&mut self, sequence: &Sequence) -> Result<(), ChaosError> {
        if sequence.holds(|kind| kind == Kind::FullJournal) {
            let root = self.directory.root();
            std::fs::create_dir_all(root).map_err(ChaosError::io("create", root))?;
            self.run_disk = Some(SmallDisk::mount(root)?);
        }
        self.coordinator = self.train(sequence.workers)?;
        // Where only the journal's disk is to be full, the checkpoints need one of their own as well.
        if sequence.holds(Kind::needs_small_disk) {
            let folder = self.checkpoints_folder();
            wait_for("the folder of checkpoints", self.left(), || {
                Ok((self.over()? || folder.is_dir()).then_some(()))
            })?;
            self.checkpoint_disk = Some(SmallDisk::mount(&folder)?);
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

    pub fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    pub fn train(&self, workers: u32) -> Result<Watched, ChaosError> {
        let mut command = self.deployment.coordinator(self.world);
        // `--resume` makes no difference, except to a run whose directory was made before its coordinator died.
        command.args(["--resume", "--workers", &workers.to_string()]);
        command.arg("--config").arg(self.world.folder.join("run.toml"));
        command.args(["--set", &format!("run.name={}", self.name)]);
        self.deployment.want(workers);
        self.serve(command)
    }

    pub fn resume(&self, workers: Option<u32>) -> Result<Watched, ChaosError> {
        if !self.directory.holds_a_run() {
            return self.train(workers.unwrap_or(2));
        }
        let mut command = self.deployment.coordinator(self.world);
        command.arg("resume").arg(self.directory.root());
        if let Some(workers) = workers {
            command.args(["--workers", &workers.to_string()]);
            self.deployment.want(workers);
        }
        self.serve(command)
    }

    fn serve(&self, mut command: Command) -> Result<Watched, ChaosError> {
        self.deployment.serve(&mut command);
        start_logged(command, &self.log).map(Watched::new)
    }

    /// Whether the run is over; a coordinator that ended otherwise is an error.
    pub fn over(&self) -> Result<bool, ChaosError> {
        match self.coordinator.ended() {
            None => Ok(false),
            Some(Exit::Code(0)) => Ok(true),
            Some(exit) => Err(self.ended_badly(exit)),
        }
    }

    pub fn ended_badly(&self, exit: Exit) -> ChaosError {
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

    pub fn checkpoints_folder(&self) -> PathBuf {
        self.directory.root().join("checkpoints")
    }

    /// Steps before the newest checkpoint: what the run has come to, whether or not a coordinator heard of it.
    pub fn steps_on_disk(&self) -> u64 {
        let newest = checkpoints(&self.checkpoints_folder()).pop();
        newest.map_or(0, |(cursor, _)| steps_before(&self.world.course, cursor))
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

    /// Those that were stopped for good find out that they were replaced.
    pub fn release(&mut self) {
        for pid in self.stopped.drain(..) {
            pid.signal(libc::SIGCONT);
        }
    }

    fn see_out(&self) -> Result<(), ChaosError> {
        wait_for("the run to end", self.left(), || Ok(self.over()?.then_some(())))
    }

    /// What is wrong with a run that ended well.
    fn fault(&self) -> Option<String> {
        self.wrong_digest()
            .or_else(|| self.unsound_journal())
            .or_else(|| self.silence_about_damage())
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

    fn unsound_journal(&self) -> Option<String> {
        let journal = JournalReader::open(&self.directory.journal_file());
        let audited = journal
            .map_err(Into::into)
            .and_then(|journal| audit_journal(&journal));
        audited.err().map(|flaw| format!("the journal: {flaw}"))
    }

    /// A checkpoint that was passed over without a word. Where logs were on a full disk, words were lost.
    fn silence_about_damage(&self) -> Option<String> {
        if self.run_disk.is_some() {
            return None;
        }
        let logs = self.worker_logs();
        let told = |name: &&String| {
            logs.iter().any(|log| {
                let text = std::fs::read(log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                text.lines()
                    .any(|line| line.contains("passed over") && line.contains(name.as_str()))
            })
        };
        let silent = self.damaged.iter().find(|name| !told(name))?;
        Some(format!(
            "no worker said that it passed over the damaged checkpoint `{silent}`"
        ))
    }

    fn worker_logs(&self) -> Vec<PathBuf> {
        let folder = self.deployment.worker_logs(&self.directory);
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut logs: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        logs.sort();
        logs
    }

    /// Who waited for whom when it went wrong.
    fn testimony(&self, error: &ChaosError) -> String {
        let mut text = error.to_string();
        if let Some(cause) = std::error::Error::source(error) {
            let _ = write!(text, ": {cause}");
        }
        text.push('\n');
        let mut note = |whose: &str, lines: &str| {
            let _ = writeln!(text, "  --- {whose}\n{lines}");
        };
        note("coordinator", &tail(&self.log, 12));
        let alive = offspring::workers();
        for log in self.worker_logs() {
            note(&log.display().to_string(), &tail(&log, 6));
        }
        note("workers alive", &format!("{alive:?}"));
        text
    }

    /// What lies on small disks is moved to where it would lie without them.
    fn leave_files(&mut self) -> Result<(), ChaosError> {
        if self.run_disk.is_none() && self.checkpoint_disk.is_none() {
            return Ok(());
        }
        let root = self.directory.root().to_owned();
        let aside = root.with_extension("aside");
        copy_tree(&root, &aside).map_err(ChaosError::io("copy", &root))?;
        self.checkpoint_disk = None;
        self.run_disk = None;
        std::fs::remove_dir_all(&root).map_err(ChaosError::io("remove", &root))?;
        std::fs::rename(&aside, &root).map_err(ChaosError::io("rename", &aside))
    }
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

pub(crate) fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
