//! The finished models under their published names.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tch::Tensor;
use ulda_model::marks;
use ulda_run::stage::Stage;

use crate::checkpoint::{CheckpointError, Checkpoints, FileEntry, Upload};
use crate::link::{At, Op};
use crate::model_classes::classes_tensor;
use crate::resources::Resources;
use crate::stages::{Context, STYLE_BANK, StageError, bank_bytes, leave_bank};
use crate::state::{RunState, StateError, names, write_tensors};

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

/// How long the other files of a run that is done may take to reach its storage.
const FILES_PATIENCE: Duration = Duration::from_secs(60);
/// The longest time after which the shards tell each other that they still wait for the storage.
const ROUND: Duration = Duration::from_secs(5);

/// Ends the run for one shard: shard 0 writes the models and the style bank, and no shard counts as through before they
/// lie on disk and, where the run has one, in its storage. So whoever writes them may die, find the disk full or the
/// storage away, and the run is not taken for finished without them.
///
/// # Errors
/// When the disk refuses, the storage does not take them within `storage.final_models`, or the collective broke.
pub fn leave_models(
    context: &Context,
    checkpoints: &Checkpoints,
    state: &RunState,
) -> Result<(), StageError> {
    if context.leads() {
        when_there_is_space(context, || {
            let bank = bank_bytes(state)?;
            write_final(checkpoints, &context.resources, state, bank.as_deref())?;
            match bank {
                Some(bank) => leave_bank(context, &bank),
                None => Ok(()),
            }
        })?;
    }
    let link = &context.link;
    let began = Instant::now();
    let deadline = &context.spec.config().deadline;
    let round = ROUND.min(Duration::from_secs_f64(
        deadline.collective.min(deadline.progress) / 4.0,
    ));
    let mut warned = false;
    for iteration in 0.. {
        context.interrupt.check_between_steps()?;
        let through = brought(context, checkpoints, began, round)?;
        let at = At {
            iteration,
            ..AFTER_ALL
        };
        let all = link.gather(at, Op::FinalModels, &link.everyone(), &[u8::from(through)])?;
        if all.iter().all(|through| through == &[1]) {
            return Ok(());
        }
        // Also keeps the coordinator from taking the silence for a stall.
        context.activity(
            state.cursor,
            "waiting for the storage to take the finished models",
        );
        if context.leads() && !through && !std::mem::replace(&mut warned, true) {
            let longest_s = context.spec.config().storage.final_models;
            tracing::warn!(
                longest_s,
                "the finished models are not in the storage yet; waiting for it"
            );
        }
    }
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
                    let error = error.with_hint();
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

/// Whether what this shard answers for has reached the storage, within one round.
fn brought(
    context: &Context,
    checkpoints: &Checkpoints,
    began: Instant,
    round: Duration,
) -> Result<bool, StageError> {
    let Some(uploads) = checkpoints.uploads() else {
        return Ok(true);
    };
    if context.leads() {
        let there = uploads.settle(round, |parcel| match parcel {
            Upload::Models(_) => true,
            // A run that ends after simulate has nothing else to show, and others start from it.
            Upload::File(file) => file == STYLE_BANK,
            Upload::Checkpoint(..) => false,
        });
        let longest = Duration::from_secs_f64(context.spec.config().storage.final_models);
        let waited = began.elapsed();
        return match there {
            false if waited > longest => Err(StageError::Models(CheckpointError::NotBrought { waited })),
            there => Ok(there && settle_files(context, checkpoints, began, Duration::ZERO)),
        };
    }
    Ok(settle_files(context, checkpoints, began, round))
}

/// Pictures and the like are not worth a run: after a while they stay where they are.
fn settle_files(context: &Context, checkpoints: &Checkpoints, began: Instant, round: Duration) -> bool {
    let Some(uploads) = checkpoints.uploads().filter(|_| context.speaks) else {
        return true;
    };
    uploads.settle(round, |parcel| matches!(parcel, Upload::File(_))) || began.elapsed() > FILES_PATIENCE
}

/// Writes source.safetensors, adapted.safetensors and, if there is one, adapted-best.safetensors: each a whole
/// segmentation model, `backbone.*` and `classifier.*`, with the names of classes that are not Cityscapes'. Their manifest
/// has the digest of the style `bank` too.
///
/// # Errors
/// When the disk refuses.
fn write_final(
    checkpoints: &Checkpoints,
    resources: &Resources,
    state: &RunState,
    bank: Option<&[u8]>,
) -> Result<(), StageError> {
    let digest = state.digest();
    let backbone = &resources.backbone_state;
    let classes = classes_tensor(&resources.classes).map_err(StateError::Torch)?;
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
        let mut model: BTreeMap<String, Tensor> = backbone
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .chain(head)
            .collect();
        let classes = classes
            .iter()
            .map(|tensor| (marks::CLASSES.to_owned(), tensor.shallow_clone()));
        model.extend(classes);
        let metadata = HashMap::from([("digest".to_owned(), digest.clone())]);
        files.insert(format!("{file}.safetensors"), write_tensors(&model, metadata)?);
    }
    let written = checkpoints.write_models(FOLDER, state.cursor, &digest, &files, bank.map(FileEntry::of));
    written.map_err(StageError::Models)
}
