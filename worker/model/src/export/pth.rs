//! Checkpoints as the authors' scripts save and load them: a pickled dictionary with `model_state`.

use std::io::Write;

use crate::export::archive::TorchArchive;
use crate::export::{ModelExportError, check};
use crate::marks;
use crate::pickle::write::dict;
use crate::weights::Weights;

/// Writes `backbone.*` and `classifier.*` of a segmentation model as `torch.save({"model_state": …})` does. The authors'
/// other entries are the state of a training that goes on; they read them with `--continue_training` only. Names of classes
/// that are not Cityscapes' stand beside it.
///
/// # Errors
/// `weights` are no segmentation model, or `out` refuses.
pub fn write_pth(weights: &Weights, out: impl Write) -> Result<(), ModelExportError> {
    check(weights)?;
    let mut archive = TorchArchive::new(out);
    let mut state = Vec::new();
    for name in weights.names().filter(|name| is_published(name)) {
        if let Some(tensor) = weights.get(name) {
            state.push((name, archive.add_tensor(&tensor)?));
        }
    }
    let mut root = vec![("model_state", dict(&state))];
    if let Some(classes) = weights.get(marks::CLASSES) {
        root.push((marks::CLASSES, archive.add_tensor(&classes)?));
    }
    archive.finish(&dict(&root))?.flush()?;
    Ok(())
}

/// Whether the authors' segmentation model, which has no attention pool, has a tensor of this name.
fn is_published(name: &str) -> bool {
    let backbone = name.strip_prefix("backbone.");
    backbone.is_some_and(|rest| !rest.starts_with("attnpool.")) || name.starts_with("classifier.")
}
