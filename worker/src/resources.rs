//! What a worker loads once and all its shards share: frozen weights and data sets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};
use ulda_dataset::{Dataset, DatasetError, PicturesError};
use ulda_method::stylebank::StyleBankError;
use ulda_model::clip::BackboneError;
use ulda_model::{Backbone, Head, SegmentationModel, Weights, WeightsError, marks};
use ulda_run::clip::{ClipOrigin, ClipTraining};
use ulda_run::hints;
use ulda_run::spec::{DatasetConfig, PathName, Precision, RunConfig, RunSpec, StyleSource};
use ulda_run::{Classes, Finding};

use crate::continued::{self, ContinuedTraining};
use crate::fit::misfits;
use crate::model_classes::classes_of;
use crate::state::{RunState, StateError, names};
use crate::style_sources::{StyleImage, TooFewStyles, given_bank};

/// Keys that name whole models.
const PRETRAIN: &str = "pretrain.checkpoint";
const ADAPT: &str = "adapt.checkpoint";

/// Name of the folder, beside the run directories, that keeps text embeddings.
const TEXT_CACHE: &str = "text-cache";

#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    #[error("clip.checkpoint")]
    Clip(#[source] WeightsError),
    #[error("{key}")]
    Model {
        key: &'static str,
        #[source]
        source: WeightsError,
    },
    #[error(
        "{key} `{}` has a backbone of {found} low-level channels, clip.checkpoint one of {expected}",
        path.display()
    )]
    OtherBackbone {
        key: &'static str,
        path: PathBuf,
        found: i64,
        expected: i64,
    },
    #[error("{key} and pretrain.checkpoint have different backbones, and a run scores all its models on one")]
    TwoBackbones { key: &'static str },
    #[error("{key} `{}` {what}", path.display())]
    OtherClasses {
        key: &'static str,
        path: PathBuf,
        what: String,
    },
    #[error("{key}")]
    Dataset {
        key: String,
        #[source]
        source: DatasetError,
    },
    #[error("{} {}", .0.key, .0.what)]
    Misfit(Finding),
    #[error("simulate.bank")]
    Bank(#[from] StyleBankError),
    #[error("{key}")]
    Images {
        key: String,
        #[source]
        source: PicturesError,
    },
    #[error(transparent)]
    FewStyles(#[from] TooFewStyles),
    #[error("the run's beginning cannot be put together")]
    State(#[from] StateError),
    #[error("this run has no stage with steps")]
    NothingToDo,
}

hints!(pub ResourceError {
    Self::OtherBackbone { .. } => "use a checkpoint trained on the same CLIP model",
    Self::TwoBackbones { .. } => "score them in two runs, each with one of the keys",
    Self::OtherClasses { .. } => OTHER_CLASSES_HINT,
    Self::FewStyles(_) => TooFewStyles::HINT,
    Self::NothingToDo => "set pretrain.steps, simulate.batches or adapt.steps, or add an evaluation set",
    Self::Misfit(finding) => finding.hint.as_str(),
    Self::Clip(error) => error.hint(),
    Self::Model { source, .. } => source.hint(),
    Self::Dataset { source, .. } => source.hint(),
    Self::Bank(error) => error.hint(),
    Self::Images { source, .. } => source.hint(),
});

/// What to do about a checkpoint of other classes.
pub const OTHER_CLASSES_HINT: &str =
    "use a checkpoint of this run's classes, or leave the key out to train one";

/// How the classes of the checkpoint `source` differ from those of the run, if they do.
#[must_use]
pub fn other_classes(source: &Weights, head: &Head, classes: &Classes) -> Option<String> {
    let found = match classes_of(source, head) {
        Ok(found) => found,
        Err(error) => return Some(error.what),
    };
    if found.len() != classes.len() {
        return Some(format!(
            "tells {} classes apart, this run {}",
            found.len(),
            classes.len()
        ));
    }
    // Files of others do not name theirs.
    source.shape(marks::CLASSES)?;
    let (theirs, ours) = found
        .iter()
        .zip(classes)
        .find(|(theirs, ours)| theirs.name != ours.name)?;
    Some(format!(
        "names a class `{}` where this run has `{}`",
        theirs.name, ours.name
    ))
}

/// Loaded weights and listed data sets. Networks are shallow: every clone looks at the same frozen tensors.
pub struct Resources {
    pub run_directory: PathBuf,
    pub text_cache: PathBuf,
    pub device: Device,
    /// What the networks' convolutions and matrix products work in, if not in float32.
    pub reduced: Option<Kind>,
    /// What the run tells apart.
    pub classes: Classes,
    pub clip_origin: ClipOrigin,
    /// CLIP's image tower, for low-level features and the scene loss.
    pub clip: Backbone,
    /// The backbone under the segmentation head: CLIP's, or that of the source checkpoint.
    pub segmentation: Backbone,
    /// Of the source; without samples where the run trains nothing.
    pub train: Arc<Dataset>,
    pub validation: Arc<Dataset>,
    /// Evaluation sets by name, in the order of the run.toml.
    pub sets: Vec<(PathName, Arc<Dataset>)>,
    /// The images that the domains name, in the order in which they are dealt over the shards.
    pub style_images: Arc<Vec<StyleImage>>,
    /// The file of a given style bank, with the styles of this run's domains.
    bank: Option<Arc<Vec<u8>>>,
    clip_weights: Arc<Mutex<Weights>>,
    source_head: Option<Head>,
    /// Of the model that the run scores instead of training one.
    adapted_head: Option<Head>,
    /// A training of the authors' scripts that a stage goes on with.
    pub continued: Option<ContinuedTraining>,
    /// Tensors of `segmentation` under their published names, `backbone.*`.
    pub backbone_state: BTreeMap<String, Tensor>,
}

impl Resources {
    /// `config` is the run's with all inputs on this host, `classes` are its classes.
    ///
    /// # Errors
    /// When a checkpoint or a data set cannot be used; the error begins with its key in run.toml.
    pub fn load(
        config: &RunConfig,
        classes: &Classes,
        run_directory: &Path,
        device: Device,
    ) -> Result<Self, ResourceError> {
        let weights = Weights::read(&config.clip.checkpoint).map_err(ResourceError::Clip)?;
        let reduced = match config.compute.precision {
            Precision::Fp32 | Precision::Tf32 => None,
            Precision::Bf16 => Some(Kind::BFloat16),
        };
        let placed = |backbone: Backbone| {
            let backbone = backbone.to_device(device);
            reduced.map_or_else(|| backbone.clone(), |kind| backbone.to_kind(kind))
        };
        let clip = Backbone::load(&weights).map_err(ResourceError::Clip)?;
        if let Some(misfit) = misfits(config, classes, &weights, &clip).into_iter().next() {
            return Err(ResourceError::Misfit(misfit));
        }
        let clip = placed(clip);
        let given = |key, path: Option<&Path>| {
            path.map(|path| GivenModel::read(key, path, &clip, classes))
                .transpose()
        };
        let source = given(PRETRAIN, config.pretrain.checkpoint.as_deref())?;
        let adapted = given(ADAPT, config.given_model())?;
        let continued = config.continued();
        let trained = match continued {
            Some((stage, path)) => given(continued::key(stage), Some(path))?,
            None => None,
        };
        let later = continued.map_or(ADAPT, |(stage, _)| continued::key(stage));
        let model = adapted.as_ref().or(trained.as_ref());
        if let (Some(source), Some(model)) = (&source, model)
            && !same_backbone(&model.backbone_state, &source.backbone_state)
        {
            return Err(ResourceError::TwoBackbones { key: later });
        }
        let (segmentation, backbone_state) = match model.or(source.as_ref()) {
            None => (clip.clone(), backbone_tensors(&weights)),
            Some(model) => (placed(model.backbone.clone()), shallow(&model.backbone_state)),
        };
        let continued = match (continued, trained) {
            (Some((stage, path)), Some(model)) => {
                let read = ContinuedTraining::read(stage, path, model.head, config);
                Some(read.map_err(|source| ResourceError::Model { key: later, source })?)
            }
            _ => None,
        };
        let origin = ClipOrigin {
            digest: weights.digest().to_owned(),
            training: training_of(&weights),
        };
        let mut sets = Vec::with_capacity(config.evaluate.sets.len());
        for set in &config.evaluate.sets {
            sets.push((
                set.name.clone(),
                open(&format!("evaluate.set `{}`", set.name), &set.dataset(classes))?,
            ));
        }
        let style_images =
            StyleImage::list(config).map_err(|(key, source)| ResourceError::Images { key, source })?;
        if config.simulate.styles == StyleSource::Images && !style_images.is_empty() {
            TooFewStyles::check(config, "domain.images", style_images.len())?;
        }
        let bank = given_bank(config, &clip)?;
        if let Some(bank) = &bank {
            TooFewStyles::check(config, "simulate.bank", bank.len())?;
        }
        let bank = bank.map(|bank| bank.to_bytes()).transpose()?;
        let source_images = |key: &str, set: &DatasetConfig| match config.trains() {
            true => open(key, set),
            false => found(key, Dataset::without_samples(set)),
        };
        let parent = run_directory.parent().unwrap_or(run_directory);
        Ok(Self {
            run_directory: run_directory.to_owned(),
            text_cache: parent.join(TEXT_CACHE),
            device,
            reduced,
            classes: classes.clone(),
            clip_origin: origin,
            clip,
            segmentation,
            train: source_images("source.train", &config.source.training_set(classes))?,
            validation: source_images("source.validation", &config.source.validation_set(classes))?,
            sets,
            style_images: Arc::new(style_images),
            bank: bank.map(Arc::new),
            clip_weights: Arc::new(Mutex::new(weights)),
            source_head: source.map(|model| model.head),
            adapted_head: adapted.map(|model| model.head),
            continued,
            backbone_state,
        })
    }

    /// A handle for another thread.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            run_directory: self.run_directory.clone(),
            text_cache: self.text_cache.clone(),
            device: self.device,
            reduced: self.reduced,
            classes: self.classes.clone(),
            clip_origin: self.clip_origin.clone(),
            clip: self.clip.clone(),
            segmentation: self.segmentation.clone(),
            train: Arc::clone(&self.train),
            validation: Arc::clone(&self.validation),
            sets: self.sets.clone(),
            style_images: Arc::clone(&self.style_images),
            bank: self.bank.clone(),
            clip_weights: Arc::clone(&self.clip_weights),
            source_head: self.source_head.as_ref().map(Head::shallow_clone),
            adapted_head: self.adapted_head.as_ref().map(Head::shallow_clone),
            continued: self.continued.as_ref().map(ContinuedTraining::share),
            backbone_state: shallow(&self.backbone_state),
        }
    }

    /// All tensors of the CLIP checkpoint; one thread at a time.
    pub fn clip_weights(&self) -> MutexGuard<'_, Weights> {
        self.clip_weights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Size E of CLIP's embeddings.
    ///
    /// # Errors
    /// When the checkpoint has no attention pool.
    pub fn embedding_width(&self) -> Result<i64, BackboneError> {
        self.clip
            .config()
            .pool
            .as_ref()
            .map(|pool| pool.embed)
            .ok_or(BackboneError::NoPool)
    }

    /// The state before the first step.
    ///
    /// # Errors
    /// When the run has no steps.
    pub fn beginning(&self, spec: &RunSpec) -> Result<RunState, ResourceError> {
        let mut state = RunState::new(spec.course().start().ok_or(ResourceError::NothingToDo)?);
        if let Some(head) = &self.source_head {
            state.set_section(names::SOURCE, head.state());
        }
        if let Some(head) = &self.adapted_head {
            state.set_section(names::ADAPTED, head.state());
        }
        if let Some(training) = &self.continued {
            state.set_section(names::HEAD, training.head.state());
            state.set_section(names::MOMENTUM, training.momentum());
            state.set_fact(&names::steps_before(training.stage), training.steps());
        }
        if let Some(bank) = &self.bank {
            let bank = Tensor::f_from_slice(bank).map_err(StateError::Torch)?;
            state.tensors.insert(names::BANK.to_owned(), bank);
        }
        Ok(state)
    }
}

/// A whole segmentation model that the run.toml names.
struct GivenModel {
    backbone: Backbone,
    head: Head,
    /// Tensors of the backbone under their published names.
    backbone_state: BTreeMap<String, Tensor>,
}

impl GivenModel {
    fn read(
        key: &'static str,
        path: &Path,
        clip: &Backbone,
        classes: &Classes,
    ) -> Result<Self, ResourceError> {
        let unfit = |source| ResourceError::Model { key, source };
        let weights = Weights::read(path).map_err(unfit)?;
        let SegmentationModel { backbone, head } = SegmentationModel::load(&weights).map_err(unfit)?;
        let (found, expected) = (backbone.config().low_channels(), clip.config().low_channels());
        if found != expected {
            return Err(ResourceError::OtherBackbone {
                key,
                path: path.to_owned(),
                found,
                expected,
            });
        }
        if let Some(what) = other_classes(&weights, &head, classes) {
            let path = path.to_owned();
            return Err(ResourceError::OtherClasses { key, path, what });
        }
        Ok(Self {
            backbone,
            head,
            backbone_state: backbone_tensors(&weights),
        })
    }
}

/// Whether both backbones compute the same. How many batches BatchNorm saw is no part of that.
pub fn same_backbone(one: &BTreeMap<String, Tensor>, other: &BTreeMap<String, Tensor>) -> bool {
    let counts = |name: &&String| !name.ends_with(".num_batches_tracked");
    let float = |tensor: &Tensor| tensor.to_kind(Kind::Float);
    one.keys().chain(other.keys()).filter(counts).all(|name| {
        let both = one.get(name).zip(other.get(name));
        both.is_some_and(|(one, other)| one.size() == other.size() && float(one).equal(&float(other)))
    })
}

fn shallow(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let copies = tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
    copies.collect()
}

/// What the marks of a CLIP checkpoint say. Weights that were trained from untrained ones may carry both marks.
fn training_of(weights: &Weights) -> ClipTraining {
    let has = |mark| weights.shape(mark).is_some();
    if has(marks::GENERATED_STREETS) {
        ClipTraining::GeneratedStreets
    } else if has(marks::UNTRAINED) {
        ClipTraining::Untrained
    } else {
        ClipTraining::Unmarked
    }
}

/// The image tower's tensors without the attention pool, named as segmentation checkpoints name them.
pub fn backbone_tensors(weights: &Weights) -> BTreeMap<String, Tensor> {
    let names = weights.names().filter_map(|name| {
        let bare = name
            .strip_prefix("visual.")
            .or_else(|| name.strip_prefix("backbone."))?;
        (!bare.starts_with("attnpool.")).then(|| (format!("backbone.{bare}"), name))
    });
    names
        .filter_map(|(published, name)| Some((published, weights.get(name)?)))
        .collect()
}

fn open(key: &str, config: &DatasetConfig) -> Result<Arc<Dataset>, ResourceError> {
    found(key, Dataset::open(config))
}

fn found(key: &str, dataset: Result<Dataset, DatasetError>) -> Result<Arc<Dataset>, ResourceError> {
    dataset.map(Arc::new).map_err(|source| ResourceError::Dataset {
        key: key.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_say_how_clip_weights_were_trained() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.safetensors");
        for (names, training) in [
            (&[][..], ClipTraining::Unmarked),
            (&["ulda.untrained"], ClipTraining::Untrained),
            (
                &["ulda.trained_on_generated_streets"],
                ClipTraining::GeneratedStreets,
            ),
            (
                &["ulda.untrained", "ulda.trained_on_generated_streets"],
                ClipTraining::GeneratedStreets,
            ),
        ] {
            let all = names.iter().chain(&["visual.conv1.weight"]);
            let named: Vec<_> = all.map(|name| (*name, Tensor::from(1_i64))).collect();
            Tensor::write_safetensors(&named, &path).unwrap();
            let found = training_of(&Weights::read(&path).unwrap());
            assert_eq!(found, training, "{names:?}");
        }
    }
}
