//! What this worker has of the run's storage: checkpoints on disk alone, or brought there, too.

use std::path::Path;
use std::sync::Arc;

use ulda_run::clip::ClipOrigin;
use ulda_run::spec::RunSpec;
use ulda_run::{Digest, StateClaim};
use ulda_storage::{Settings, Storage, StorageCount, StorageCounters};

use super::TrainerError;
use crate::agent::{Agent, Fact, Reporter};
use crate::checkpoint::{
    CheckpointError, CheckpointStore, Checkpoints, RemoteStore, Upload, UploadObserver, Uploaded, Uploads,
};
use crate::progress::Report;

/// The run's checkpoints, with uploads that tell the coordinator of what they brought.
pub(super) fn checkpoints(
    agent: &Agent,
    spec: &RunSpec,
    run_directory: &Path,
    clip: &ClipOrigin,
    counters: &StorageCounters,
) -> Result<Checkpoints, TrainerError> {
    let config = spec.config();
    let (run, keep) = (config.run.name.to_string(), config.checkpoint.keep);
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
    for file in left_over(run_directory) {
        uploads.offer(Upload::File(file));
    }
    Ok(Checkpoints::with_storage(local, remote, Arc::new(uploads)))
}

/// Files of the run directory that an earlier worker left there and may not have brought.
fn left_over(run_directory: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for folder in ["styles", "examples"] {
        collect(&run_directory.join(folder), folder, &mut left);
    }
    left
}

/// Names of the whole files below `folder`, each behind `prefix`.
fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        match entry.path() {
            path if path.is_dir() => collect(&path, &name, names),
            _ if name.ends_with(".png") || name.ends_with(".safetensors") => names.push(name),
            _ => {}
        }
    }
}

struct ToCoordinator(Reporter);

impl UploadObserver for ToCoordinator {
    fn uploaded(&self, checkpoint: Uploaded) {
        tracing::debug!(path = %checkpoint.path.display(), "checkpoint brought to the storage");
        self.0.report(Report::Checkpoint {
            path: checkpoint.path,
            state: StateClaim {
                cursor: checkpoint.cursor,
                digest: Digest(checkpoint.digest),
            },
            size_bytes: checkpoint.size_bytes,
        });
    }

    fn counted(&self, count: StorageCount) {
        self.0.tell(Fact::Storage(count));
    }
}
