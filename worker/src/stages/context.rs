//! What every stage of one shard is given.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use ulda_run::plan::{Purpose, RandomStream, StreamKey};
use ulda_run::spec::RunSpec;
use ulda_run::stage::{Cursor, Stage};

use super::StageError;
use crate::checkpoint::{CheckpointClock, Upload, Uploads};
use crate::link::Link;
use crate::observe::Meters;
use crate::progress::{Progress, Report};
use crate::resources::Resources;
use crate::state::RunState;

/// What a shard's thread tells its worker.
pub enum ShardEvent {
    Progress {
        cursor: Cursor,
        progress: Progress,
    },
    /// A state worth a checkpoint.
    Snapshot(RunState),
    Report(Report),
}

/// Asks threads to leave: between two steps, or deep in one that is to be given up.
#[derive(Debug, Default)]
pub struct Interrupt {
    asked: AtomicBool,
    raised: AtomicBool,
    why: Mutex<String>,
}

impl Interrupt {
    /// The first reason stays.
    pub fn raise(&self, why: &str) {
        let mut kept = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.raised.swap(true, Ordering::SeqCst) {
            why.clone_into(&mut kept);
        }
    }

    /// Asks to leave between steps; the step in flight may end.
    pub fn ask(&self, why: &str) {
        let mut kept = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.asked.swap(true, Ordering::SeqCst) {
            why.clone_into(&mut kept);
        }
    }

    /// For use between steps.
    ///
    /// # Errors
    /// When it was asked for or raised.
    pub fn check_between_steps(&self) -> Result<(), StageError> {
        if self.asked.load(Ordering::SeqCst) {
            let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
            return Err(StageError::Interrupted(why.clone()));
        }
        self.check()
    }

    /// # Errors
    /// When it was raised.
    pub fn check(&self) -> Result<(), StageError> {
        if self.raised.load(Ordering::SeqCst) {
            let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
            return Err(StageError::Interrupted(why.clone()));
        }
        Ok(())
    }
}

/// One shard's surroundings.
pub struct Context {
    pub spec: Arc<RunSpec>,
    pub link: Link,
    pub resources: Resources,
    pub events: Sender<ShardEvent>,
    pub interrupt: Arc<Interrupt>,
    pub meters: Arc<Meters>,
    /// Whether this shard speaks for its worker: the lowest one it serves.
    pub speaks: bool,
    /// What brings files to the run's storage, if it has one.
    pub uploads: Option<Arc<Uploads>>,
    pub checkpoint_clock: Arc<CheckpointClock>,
}

impl Context {
    /// Whether this shard speaks for the run: writes checkpoints, pictures and reports.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.link.shard() == 0
    }

    /// A file was written, relative to the run directory.
    pub fn left(&self, file: String) {
        if let Some(uploads) = &self.uploads {
            uploads.offer(Upload::File(file));
        }
    }

    pub fn tell(&self, event: ShardEvent) {
        // The worker may have given the generation up; then nobody needs the event.
        let _ = self.events.send(event);
    }

    /// Tells what the shard is busy with between steps.
    pub fn activity(&self, cursor: Cursor, activity: impl Into<String>) {
        if self.speaks {
            let progress = Progress {
                activity: activity.into(),
                ..Progress::default()
            };
            self.tell(ShardEvent::Progress { cursor, progress });
        }
    }

    /// A seed for libtorch or the method, keyed by what it is for.
    #[must_use]
    pub fn seed(&self, purpose: Purpose, stage: Stage, major: u64, minor: u64) -> u64 {
        let seed = self.spec.config().run.seed;
        RandomStream::new(StreamKey {
            seed,
            purpose,
            stage,
            major,
            minor,
        })
        .next_u64()
    }
}
