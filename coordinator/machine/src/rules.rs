//! What the machine goes by; fixed for as long as one coordinator serves the run.

use std::time::Duration;

use ulda_run::ids::Slot;
use ulda_run::spec::RunSpec;
use ulda_run::stage::{Course, Cursor};

/// Longest waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineDeadlines {
    /// All wanted workers have joined.
    pub gather: Duration,
    /// Enough workers have joined that somebody else starts.
    pub queue: Duration,
    /// A generation has formed; also: a fenced worker has said what state it keeps.
    pub form: Duration,
    /// Silence of a worker.
    pub heartbeat: Duration,
    /// No step committed although all workers are alive.
    pub progress: Duration,
    /// Workers leave after they were asked to stop.
    pub drain: Duration,
}

/// How often the worker of one slot may be started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartBudget {
    /// Restarts of one slot within `window`.
    pub per_slot: u32,
    pub window: Duration,
}

/// Who starts worker processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launching {
    /// The shell, on `Effect::Launch`; it reports `MachineEvent::ProcessEnded`.
    Here,
    /// Somebody else (Kubernetes, a person): no launches, no kills, no exit codes.
    Elsewhere,
}

/// What the machine goes by: numbers and waits from the run's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineRules {
    pub shards: u32,
    pub course: Course,
    /// Fewer than this cannot go on.
    pub min_workers: u32,
    /// Slots `0..wanted_workers` are kept filled.
    pub wanted_workers: u32,
    /// More than this are refused.
    pub max_workers: u32,
    pub launching: Launching,
    pub deadlines: MachineDeadlines,
    pub restarts: RestartBudget,
    /// After a break, how long the survivors wait for a relaunched worker before they go on without it.
    pub relaunch_grace: Duration,
    /// After its stream broke, how long a worker gets to attach again.
    pub reattach: Duration,
    /// After its worker is lost, how long a process gets to end by itself.
    pub exit_grace: Duration,
    /// A generation is not interrupted for newcomers before it is this old.
    pub admit_every: Duration,
    /// After so many progress deadlines in a row without a committed step the run fails.
    pub stalls_allowed: u32,
}

impl MachineRules {
    /// The rules of a resolved run for `wanted_workers`, with the published waits.
    #[must_use]
    pub fn of(spec: &RunSpec, wanted_workers: u32, launching: Launching) -> Self {
        let deadline = &spec.config().deadline;
        let recovery = &spec.config().recovery;
        Self {
            shards: spec.shards(),
            course: spec.course(),
            min_workers: recovery.min_workers,
            wanted_workers,
            max_workers: recovery
                .max_workers
                .unwrap_or_else(|| wanted_workers.max(spec.shards()).saturating_mul(2)),
            launching,
            deadlines: MachineDeadlines {
                gather: Duration::from_secs_f64(deadline.gather),
                queue: Duration::from_secs_f64(deadline.queue),
                form: Duration::from_secs_f64(deadline.form),
                heartbeat: Duration::from_secs_f64(deadline.heartbeat),
                progress: Duration::from_secs_f64(deadline.progress),
                drain: Duration::from_secs_f64(deadline.drain),
            },
            restarts: RestartBudget {
                per_slot: recovery.restarts,
                window: Duration::from_secs_f64(recovery.window),
            },
            relaunch_grace: Duration::from_secs_f64(recovery.grace),
            reattach: Duration::from_secs_f64(recovery.reattach),
            exit_grace: Duration::from_secs(2),
            admit_every: Duration::from_secs_f64(recovery.admit_every),
            stalls_allowed: 3,
        }
    }

    /// Whether the machine keeps a worker in this slot.
    #[must_use]
    pub fn wants(&self, slot: Slot) -> bool {
        slot.0 < self.wanted_workers
    }

    /// One name for one position: the end of a stage is the beginning of the next one.
    #[must_use]
    pub fn settle(&self, cursor: Cursor) -> Cursor {
        let stages = self.course.stages();
        let Some(index) = stages.iter().position(|length| length.stage == cursor.stage) else {
            return cursor;
        };
        match stages.get(index + 1) {
            Some(next) if cursor.step >= stages[index].steps => Cursor {
                stage: next.stage,
                step: 0,
            },
            Some(_) | None => cursor,
        }
    }
}
