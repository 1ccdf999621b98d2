//! The finished models under their published names.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tch::Tensor;
use ulda_core::stage::Stage;

use crate::checkpoint::CheckpointStore;
use crate::link::{At, Op};
use crate::resources::Resources;
use crate::stages::{Context, StageError, bank_bytes, leave_bank, names};
use crate::state::{RunState, write_tensors};

/// Folder of the finished models within the run's checkpoints.
const FOLDER: &str = "final";

/// Between two looks at a disk that was full.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Tag of the last exchange of a run; no step has this number.
const AFTER_ALL: At = At {
    stage: Stage::Evaluate,
    step: u64::MAX,
    iteration: 0,
};

/// Ends the run for one shard: shard 0 writes the models and the style bank, and no shard counts as through before they lie on disk.
/// So whoever writes them may die or find the disk full, and the run is not taken for finished without them.
///
/// # Errors
/// When the disk refuses, or the collective broke.
pub fn leave_models(context: &Context, store: &CheckpointStore, state: &RunState) -> Result<(), StageError> {
    if context.leads() {
        when_there_is_space(context, || {
            write_final(store, &context.resources, state)?;
            match bank_bytes(state)? {
                Some(bank) => leave_bank(&context.resources.run_directory, &bank),
                None => Ok(()),
            }
        })?;
    }
    let link = &context.link;
    link.gather(AFTER_ALL, Op::FinalModels, &link.everyone(), &[])?;
    Ok(())
}

/// Tries again while the disk is full: nothing is left to train, and a person may make room. Half as long as the other
/// shards wait for this one, so that they hear of the disk and not of a deadline.
fn when_there_is_space(
    context: &Context,
    write: impl Fn() -> Result<(), StageError>,
) -> Result<(), StageError> {
    let patience = Duration::from_secs_f64(context.spec.config().deadline.collective / 2.0);
    let deadline = Instant::now() + patience;
    let mut warned = false;
    loop {
        match write() {
            Err(error) if error.is_for_want_of_space() && Instant::now() < deadline => {
                if !warned {
                    let error = error.with_causes();
                    tracing::warn!(error, "the finished models wait for space; hint: free some");
                }
                warned = true;
                context.interrupt.check_between_steps()?;
                std::thread::sleep(LOOK_AGAIN);
            }
            outcome => return outcome,
        }
    }
}

/// Writes source.safetensors, adapted.safetensors and, if there is one, adapted-best.safetensors: each a whole
/// segmentation model, `backbone.*` and `classifier.*`.
///
/// # Errors
/// When the disk refuses.
fn write_final(store: &CheckpointStore, resources: &Resources, state: &RunState) -> Result<(), StageError> {
    let digest = state.digest();
    let backbone = &resources.backbone_state;
    let mut files = BTreeMap::new();
    for (file, section) in [
        ("source", names::SOURCE),
        ("adapted", names::ADAPTED),
        ("adapted-best", names::BEST),
    ] {
        let head = state.section(section);
        if head.is_empty() {
            continue;
        }
        let model: BTreeMap<String, Tensor> = backbone
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .chain(head)
            .collect();
        let metadata = HashMap::from([("digest".to_owned(), digest.clone())]);
        files.insert(format!("{file}.safetensors"), write_tensors(&model, metadata)?);
    }
    let written = store.write_folder(FOLDER, state.cursor, &digest, &files);
    written.map(drop).map_err(StageError::Models)
}
