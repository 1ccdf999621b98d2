//! The finished models under their published names.

use std::collections::{BTreeMap, HashMap};

use tch::Tensor;
use ulda_core::stage::Stage;

use crate::checkpoint::CheckpointStore;
use crate::link::{At, Op};
use crate::resources::Resources;
use crate::stages::{Context, StageError, bank_bytes, leave_bank, names};
use crate::state::{RunState, write_tensors};

/// Folder of the finished models within the run's checkpoints.
const FOLDER: &str = "final";

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
        write_final(store, &context.resources, state)?;
        if let Some(bank) = bank_bytes(state)? {
            leave_bank(&context.resources.run_directory, &bank)?;
        }
    }
    let link = &context.link;
    link.gather(AFTER_ALL, Op::FinalModels, &link.everyone(), &[])?;
    Ok(())
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
