//! The finished models under their published names.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use tch::Tensor;

use super::TrainerError;
use crate::checkpoint::CheckpointStore;
use crate::resources::Resources;
use crate::stages::names;
use crate::state::{RunState, write_tensors};

/// Folder of the finished models within the run's checkpoints.
const FOLDER: &str = "final";

/// Writes source.safetensors, adapted.safetensors and, if there is one, adapted-best.safetensors: each a whole
/// segmentation model, `backbone.*` and `classifier.*`.
///
/// # Errors
/// When the disk refuses.
pub fn write_final(
    store: &CheckpointStore,
    resources: &Resources,
    state: &RunState,
    digest: &str,
) -> Result<PathBuf, TrainerError> {
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
        let metadata = HashMap::from([("digest".to_owned(), digest.to_owned())]);
        files.insert(format!("{file}.safetensors"), write_tensors(&model, metadata)?);
    }
    Ok(store.write_folder(FOLDER, state.cursor, digest, &files)?)
}
