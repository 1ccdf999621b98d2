//! The machine's events in, its orders out.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;
use tokio::time::Instant;
use ulda_machine::{
    Asker, Effect, ExitKind, Machine, MachineEvent, Record, RunOutcome, Stopping, Tick, Ticket, Verdict,
};
use ulda_proto::v1;
use ulda_run::hinted;
use ulda_run::hints;
use ulda_run::ids::{Slot, WorkerId};
use ulda_run::stage::Course;
use ulda_storage::StorageCounters;

use super::news::{Audience, News, StorageClient};
use super::streams::{Sent, Streams};
use super::training_command::{WorkerLaunch, worker_command};
use crate::journal::{Journal, JournalEntry, JournalError, Level};
use crate::launch::{self, LocalLauncher, ProcessExit, WorkerDeath};
use crate::rpc::Refusal;
use crate::with_causes;

/// Why serving a run had to end although the machine did not say so.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Serve(#[from] crate::rpc::ServeError),
    #[error("the control plane ended before the run")]
    ControlPlaneGone,
    #[error("a record of the state machine has no JSON form")]
    Record { source: serde_json::Error },
    #[error("journal record {seq} cannot be read", seq = .index + 1)]
    OldRecord { index: usize, source: serde_json::Error },
    #[error("listen for signals")]
    Signals { source: std::io::Error },
    #[error("this coordinator has term {ours} and stops: its workers obey one of term {theirs}")]
    Superseded { ours: u64, theirs: u64 },
}

hints!(pub RunError {
    Self::OldRecord { .. } => "it was written by another version",
    Self::Superseded { .. } => {
        "look for the other coordinator; if there is none, the journal was restored from an older \
        copy: start this one again"
    },
    Self::Journal(error) => error.hint(),
    Self::Serve(error) => error.hint(),
});

impl RunError {
    /// Another coordinator serves the run.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        matches!(
            self,
            Self::Superseded { .. } | Self::Journal(JournalError::Superseded { .. })
        )
    }

    /// Whether only this coordinator has to end: what it would say next cannot be written down, and the workers
    /// need nothing of it for now. The next coordinator of the run takes them over.
    #[must_use]
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Journal(cause) => cause.is_of_the_disk(),
            Self::Serve(_)
            | Self::ControlPlaneGone
            | Self::Record { .. }
            | Self::OldRecord { .. }
            | Self::Signals { .. }
            | Self::Superseded { .. } => false,
        }
    }
}

/// Exit code of a worker that left on SIGTERM.
const TERMINATED: i32 = 143;

/// What every worker is told when it joins.
#[derive(Clone, Debug)]
pub(super) struct Briefing {
    pub spec_toml: String,
    pub run_directory: String,
    pub heartbeat_millis: u64,
    pub term: u64,
    pub data_secret: Vec<u8>,
    /// Whether members of a generation encrypt what they tell each other.
    pub data_tls: bool,
    pub trace_parent: String,
}

/// The machine with its hands.
pub(super) struct RunDriver {
    pub machine: Machine,
    pub journal: Journal,
    pub launcher: LocalLauncher,
    /// `None`: workers come from elsewhere.
    pub launch: Option<WorkerLaunch>,
    pub course: Course,
    pub briefing: Briefing,
    pub audience: Box<dyn Audience>,
    pub(super) streams: Streams,
    pub(super) tickets: BTreeMap<Ticket, oneshot::Sender<Result<v1::JoinReply, Refusal>>>,
    pub(super) next_ticket: u64,
    pub(super) slots: BTreeMap<WorkerId, Slot>,
    told: Option<Verdict>,
    /// A record waits for the next commit.
    unwritten_record: bool,
    /// Slots whose process a next coordinator would not find in the journal yet.
    unwritten_processes: Vec<Slot>,
    pub first_causes: BTreeMap<u32, WorkerDeath>,
    /// What this process asks of the run's storage.
    pub storage: Option<StorageCounters>,
}

impl RunDriver {
    pub fn new(
        machine: Machine,
        journal: Journal,
        launcher: LocalLauncher,
        launch: Option<WorkerLaunch>,
        course: Course,
        briefing: Briefing,
        audience: Box<dyn Audience>,
    ) -> Self {
        // Those of an earlier coordinator may come back without joining again.
        let known = machine.snapshot(Tick(0)).workers.into_iter();
        let slots = known.map(|worker| (worker.worker, worker.slot)).collect();
        let streams = Streams::new(briefing.term, briefing.data_tls);
        Self {
            machine,
            journal,
            launcher,
            launch,
            course,
            briefing,
            audience,
            streams,
            tickets: BTreeMap::new(),
            next_ticket: 0,
            slots,
            told: None,
            unwritten_record: false,
            unwritten_processes: Vec::new(),
            first_causes: BTreeMap::new(),
            storage: None,
        }
    }

    /// Hands one fact to the machine and carries out what it orders. `Some` when the run is over.
    pub async fn feed(&mut self, now: Tick, event: MachineEvent) -> Result<Option<RunOutcome>, RunError> {
        self.machine.handle(now, event);
        self.carry_out(now).await
    }

    /// Carries out all orders, and those that come of carrying them out.
    pub async fn carry_out(&mut self, now: Tick) -> Result<Option<RunOutcome>, RunError> {
        let mut ended = None;
        loop {
            let mut consequences = VecDeque::new();
            for effect in self.machine.drain_effects() {
                if let Some(outcome) = self.carry_out_one(effect, &mut consequences).await? {
                    ended = Some(outcome);
                }
            }
            if consequences.is_empty() {
                break;
            }
            for event in consequences {
                self.machine.handle(now, event);
            }
        }
        self.tell_verdict();
        Ok(ended)
    }

    async fn carry_out_one(
        &mut self,
        effect: Effect,
        consequences: &mut VecDeque<MachineEvent>,
    ) -> Result<Option<RunOutcome>, RunError> {
        if let Effect::Journal(record) = effect {
            self.note_record(&record)?;
            return Ok(None);
        }
        self.commit_record().await?;
        match effect {
            Effect::Journal(_) => {}
            Effect::Welcome { ticket, worker, slot } => self.welcome(ticket, worker, slot),
            Effect::Refuse {
                asker: Asker::Join(ticket),
                reason,
            } => {
                if let Some(reply) = self.tickets.remove(&ticket) {
                    // A worker that hung up needs no answer.
                    let _ = reply.send(Err(Refusal::Machine(reason)));
                }
            }
            Effect::Refuse {
                asker: Asker::Worker(worker),
                reason,
            } => {
                tracing::debug!(worker = worker.0, %reason, "stream refused");
                self.streams.close(worker);
            }
            Effect::Direct {
                worker,
                generation,
                directive,
            } => {
                tracing::debug!(
                    worker = worker.0,
                    generation = generation.0,
                    ?directive,
                    "directed"
                );
                if self.streams.send(worker, generation, &directive) == Sent::Unread {
                    let why = "it does not read its orders".to_owned();
                    consequences.push_back(MachineEvent::WorkerDetached { worker, why });
                }
            }
            Effect::Launch { slot, attempt } => consequences.extend(self.start(slot, attempt)),
            Effect::Kill { slot } => self.launcher.kill(slot.0),
            Effect::End(outcome) => return Ok(Some(outcome)),
        }
        Ok(None)
    }

    fn note_record(&mut self, record: &Record) -> Result<(), RunError> {
        let json = serde_json::to_string(record).map_err(|source| RunError::Record { source })?;
        tracing::debug!(record = %json, "journal");
        self.journal.note(JournalEntry::Record { json });
        self.unwritten_record = true;
        match record {
            Record::WorkerJoined {
                worker, slot, device, ..
            } => {
                self.slots.insert(*worker, *slot);
                self.tell(News::Joined {
                    slot: *slot,
                    worker: *worker,
                    device: device.clone(),
                });
            }
            Record::WorkerLost { worker, slot, why } => {
                let text = format!("{worker} is lost: {why}");
                self.journal.note(JournalEntry::Event {
                    level: Level::Warn,
                    slot: Some(slot.0),
                    text,
                });
                self.tell(News::Lost {
                    slot: *slot,
                    worker: *worker,
                    why: why.to_string(),
                });
            }
            Record::GenerationAbandoned { generation, why } => {
                let text = format!("{generation} abandoned: {why}");
                self.journal.note(JournalEntry::Event {
                    level: Level::Warn,
                    slot: None,
                    text,
                });
                self.tell(News::GenerationAbandoned {
                    generation: *generation,
                    why: why.clone(),
                });
            }
            Record::GenerationFormed {
                generation,
                formation,
            } => self.tell(News::GenerationFormed {
                generation: *generation,
                formation: formation.clone(),
            }),
            Record::GenerationStarted { generation, state } => self.tell(News::GenerationStarted {
                generation: *generation,
                at: state.as_ref().map(|state| state.cursor),
            }),
            Record::Restarted { slot, .. } => self.tell(News::Restarted { slot: *slot }),
            Record::RunStarted { .. }
            | Record::Committed { .. }
            | Record::Finished { .. }
            | Record::Failed { .. }
            | Record::Stopped => {}
        }
        Ok(())
    }

    async fn commit_record(&mut self) -> Result<(), RunError> {
        if self.unwritten_record {
            self.flush().await?;
        }
        Ok(())
    }

    /// Puts on disk whatever was noted.
    pub async fn flush(&mut self) -> Result<(), RunError> {
        self.unwritten_record = false;
        if !self.journal.has_notes() {
            return Ok(());
        }
        let began = Instant::now();
        self.journal.commit().await?;
        self.unwritten_processes.clear();
        self.tell(News::JournalWritten {
            took: began.elapsed(),
        });
        Ok(())
    }

    /// Tells how things stand.
    pub fn look(&mut self, now: Tick) {
        let snapshot = Box::new(self.machine.snapshot(now));
        self.tell(News::Looked(snapshot));
        if let Some(counters) = &self.storage {
            let count = Box::new(counters.read());
            self.tell(News::Storage {
                client: StorageClient::Coordinator,
                count,
            });
        }
    }

    fn welcome(&mut self, ticket: Ticket, worker: WorkerId, slot: Slot) {
        self.slots.insert(worker, slot);
        let welcome = v1::JoinReply {
            worker: worker.0,
            spec_toml: self.briefing.spec_toml.clone(),
            run_directory: self.briefing.run_directory.clone(),
            heartbeat_millis: self.briefing.heartbeat_millis,
            coordinator_term: self.briefing.term,
            data_secret: self.briefing.data_secret.clone(),
            keeps_log: self.launch.is_none(),
            trace_parent: self.briefing.trace_parent.clone(),
        };
        if let Some(reply) = self.tickets.remove(&ticket) {
            // A worker that hung up never attends; the machine has a deadline for that.
            let _ = reply.send(Ok(welcome));
        }
    }

    fn start(&mut self, slot: Slot, attempt: u32) -> Option<MachineEvent> {
        let launch = self.launch.as_ref()?;
        if self.launcher.runs(slot.0) {
            self.launcher.kill(slot.0);
        }
        match self
            .launcher
            .start(slot.0, attempt, &worker_command(launch, slot.0))
        {
            Ok(started) => {
                let launch::ProcessIdentity {
                    process_id,
                    started_ticks,
                } = started.identity;
                self.journal.note(JournalEntry::Process {
                    slot: slot.0,
                    attempt,
                    process_id,
                    started_ticks,
                });
                self.unwritten_processes.push(slot);
                self.tell(News::Launched {
                    slot,
                    attempt,
                    process_id,
                });
                None
            }
            Err(cause) => {
                let why = hinted(with_causes(&cause), cause.hint());
                let exit = ExitKind::NotStarted(why);
                Some(MachineEvent::ProcessEnded {
                    slot,
                    attempt,
                    exit,
                    last_words: None,
                })
            }
        }
    }

    /// A process that was started here ended.
    pub async fn process_ended(
        &mut self,
        now: Tick,
        outcome: launch::EndedProcess,
    ) -> Result<Option<RunOutcome>, RunError> {
        if self.launcher.forget(&outcome) {
            self.journal
                .note(JournalEntry::ProcessGone { slot: outcome.slot });
        }
        let well = matches!(outcome.exit, ProcessExit::Code(0 | TERMINATED));
        if !well && !self.machine.phase().is_over() {
            let text = outcome.cause.to_string();
            self.journal.note(JournalEntry::Event {
                level: Level::Error,
                slot: Some(outcome.slot),
                text,
            });
            self.first_causes
                .entry(outcome.slot)
                .or_insert_with(|| outcome.cause.clone());
            self.tell(News::WorkerDied(outcome.cause.clone()));
        }
        let last_words = (!well && !outcome.cause.lines.is_empty()).then(|| outcome.cause.lines.join("; "));
        let exit = exit_kind(outcome.exit);
        self.feed(
            now,
            MachineEvent::ProcessEnded {
                slot: Slot(outcome.slot),
                attempt: outcome.attempt,
                exit,
                last_words,
            },
        )
        .await
    }

    /// Leaves the workers to the next coordinator of the run, but for those it could not know of.
    pub fn leave_workers(&mut self) {
        for slot in self.unwritten_processes.drain(..) {
            self.launcher.kill(slot.0);
        }
        tracing::warn!("the workers train on and wait for the run to be resumed");
    }

    /// Asks the machine to stop.
    pub async fn stop(
        &mut self,
        now: Tick,
        stopping: Stopping,
        why: &str,
    ) -> Result<Option<RunOutcome>, RunError> {
        self.tell(News::Stopping { why: why.to_owned() });
        self.journal.note(JournalEntry::Event {
            level: Level::Info,
            slot: None,
            text: format!("stop asked: {why}"),
        });
        self.feed(
            now,
            MachineEvent::StopAsked {
                stopping,
                why: why.to_owned(),
            },
        )
        .await
    }

    pub fn tell(&mut self, news: News) {
        self.audience.hear(&news);
    }

    fn tell_verdict(&mut self) {
        let verdict = self.machine.verdict();
        // How it ended is told once, when the processes are gone.
        let over = self.machine.phase().is_over();
        if !over && self.told.as_ref() != Some(&verdict) {
            self.told = Some(verdict.clone());
            self.tell(News::Verdict(verdict));
        }
    }
}

fn exit_kind(exit: ProcessExit) -> ExitKind {
    match exit {
        ProcessExit::Code(code) => ExitKind::Code(code),
        ProcessExit::Signal(signal) => ExitKind::Signal(signal),
        ProcessExit::Unseen => ExitKind::Signal(libc::SIGKILL),
    }
}
