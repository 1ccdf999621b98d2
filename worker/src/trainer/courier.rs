//! What this worker has of the run's storage: checkpoints on disk alone, or brought there, too.

use std::path::Path;
use std::sync::Arc;

use ulda_core::spec::RunSpec;
use ulda_storage::{Counters, Settings, Storage, StorageCount};

use super::TrainerError;
use crate::agent::{Agent, Fact, Report, Reporter, StateClaim};
use crate::checkpoint::{
    CheckpointError, CheckpointStore, Checkpoints, ClipOrigin, Listener, RemoteStore, Uploaded, Uploads,
};

/// The run's checkpoints, with uploads that tell the coordinator of what they brought.
pub(super) fn checkpoints(
    agent: &Agent,
    spec: &RunSpec,
    run_directory: &Path,
    clip: &ClipOrigin,
    counters: &Counters,
) -> Result<Checkpoints, TrainerError> {
    let config = spec.config();
    let (run, keep) = (config.run.name.clone(), config.checkpoint.keep);
    let local = CheckpointStore::new(run_directory.join("checkpoints"), run.clone(), clip.clone(), keep);
    let (Some(url), Some(reporter)) = (&config.storage.url, agent.reporter()) else {
        return Ok(Checkpoints::local(local));
    };
    let storage = Storage::open(url, &Settings::of(&config.storage), counters.clone())
        .map_err(CheckpointError::Storage)?
        .below(&run);
    let remote = RemoteStore::new(storage.clone(), run, clip.clone(), keep);
    let uploads = Uploads::start(
        run_directory.to_owned(),
        &storage,
        &remote,
        ToCoordinator(reporter),
    );
    let uploads = uploads.map_err(TrainerError::Thread)?;
    Ok(Checkpoints::with_storage(local, remote, Arc::new(uploads)))
}

struct ToCoordinator(Reporter);

impl Listener for ToCoordinator {
    fn uploaded(&self, checkpoint: Uploaded) {
        tracing::debug!(path = %checkpoint.path.display(), "checkpoint brought to the storage");
        self.0.report(Report::Checkpoint {
            path: checkpoint.path,
            state: StateClaim {
                cursor: checkpoint.cursor,
                digest: checkpoint.digest,
            },
            size_bytes: checkpoint.size_bytes,
        });
    }

    fn counted(&self, count: StorageCount) {
        self.0.tell(Fact::Storage(count));
    }
}
