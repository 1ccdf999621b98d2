//! Scoring the finished models on the evaluation sets. Images are dealt over the shards; integer confusion matrices
//! are summed, so the scores do not depend on how many there are.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ulda_dataset::palette::{coloured, strip};
use ulda_dataset::{
    ConfusionMatrix, Dataset, Example, Image, ImagePixels, Job, LabelMap, Sampling, write_rgb,
};
use ulda_model::Head;
use ulda_run::spec::PathName;
use ulda_run::stage::{Cursor, Stage};

use super::context::{Context, ShardEvent};
use super::feed::{next_of, read_ahead};
use super::pixels::{Normaliser, format_for};
use super::predict::Predictor;
use super::supervised::head_from;
use super::tally::Tally;
use super::{Extent, StageError, StageRun};
use crate::link::{At, Op};
use crate::progress::{Progress, Report};
use crate::state::{RunState, names};

/// Pixels between the panels of an example strip.
const STRIP_GAP: u32 = 4;
/// Images read beyond the one that is scored, which are large; on a GPU as many as there are decoders.
const IMAGES_AHEAD: usize = 2;
/// Least time between two notes on how far a set has come.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// A data set to score, and which of several in its step it is.
#[derive(Clone, Copy)]
pub struct Images<'a> {
    pub dataset: &'a Arc<Dataset>,
    pub part: u32,
}

/// Gives what each head predicts for an image, which waits for it.
pub type Predictions<'a> = &'a dyn Fn() -> Result<Vec<LabelMap>, StageError>;

/// Confusion matrices of `heads`, over the images of all shards. `look` sees each image that this shard scored, its
/// place in the data set, and what each head predicts, if it asks.
///
/// # Errors
/// When an image is unreadable or the collective broke.
pub fn score(
    context: &Context,
    cursor: Cursor,
    images: Images<'_>,
    heads: &[&Head],
    mut look: impl FnMut(usize, &Example, Predictions<'_>) -> Result<(), StageError>,
) -> Result<Vec<ConfusionMatrix>, StageError> {
    let resources = &context.resources;
    let (shard, shards) = (context.link.shard() as usize, context.link.shards() as usize);
    let mut tally = Tally::new(heads.len(), images.dataset.classes().len(), resources.device)?;
    let normaliser = Normaliser::new(resources.device)?;
    let mut noted = Instant::now();
    let own = (shard..images.dataset.len()).step_by(shards);
    let format = format_for(resources.device);
    let whole = own.clone().map(move |sample| Job {
        sample,
        sampling: Sampling {
            format,
            ..Sampling::default()
        },
    });
    let counters = &context.meters.decode;
    let mut reader = read_ahead(images.dataset, whole, IMAGES_AHEAD, resources.device, counters)?;
    for index in own {
        context.interrupt.check()?;
        let example = next_of(&mut reader, images.dataset)?;
        let predictor = Predictor::new(&resources.segmentation, &example.image, example.size, &normaliser)?;
        let classes = heads.iter().map(|head| predictor.classes(head));
        let classes = classes.collect::<Result<Vec<_>, _>>()?;
        tally.add(&example.label, &classes)?;
        look(index, &example, &|| {
            classes
                .iter()
                .map(|classes| predictor.label_map(classes))
                .collect()
        })?;
        if noted.elapsed() >= NOTE_EVERY {
            noted = Instant::now();
            context.activity(cursor, format!("image {} of {}", index + 1, images.dataset.len()));
        }
    }
    let mut counts = tally.counts()?;
    let at = At::step(cursor.stage, cursor.step);
    context.link.sum(at, Op::Confusion, images.part, &mut counts)?;
    let cells = counts.len() / heads.len().max(1);
    counts
        .chunks(cells.max(1))
        .map(|cells| Ok(ConfusionMatrix::from_counts(cells)?))
        .collect()
}

pub struct Evaluate<'a> {
    context: &'a Context,
    models: Vec<(&'static str, Head)>,
    /// Counts of every model by set, as they go into the state.
    confusion: std::collections::BTreeMap<String, std::collections::BTreeMap<String, Vec<u64>>>,
}

impl<'a> Evaluate<'a> {
    /// # Errors
    /// When the state lacks a head that the run's stages leave.
    pub fn begin(context: &'a Context, state: &RunState) -> Result<Self, StageError> {
        let mut models = Vec::new();
        let config = context.spec.config();
        for (name, section, needed) in [
            ("source-only", names::SOURCE, config.has_source_model()),
            ("adapted", names::ADAPTED, config.has_adapted_model()),
            ("adapted-best", names::BEST, false),
        ] {
            let tensors = state.section(section);
            if !tensors.is_empty() {
                models.push((name, head_from(tensors, &context.resources)?));
            } else if needed {
                return Err(StageError::Unprepared {
                    stage: "evaluate",
                    what: "source-only or adapted head",
                });
            }
        }
        let confusion = state.fact(names::CONFUSION).unwrap_or_default();
        Ok(Self {
            context,
            models,
            confusion,
        })
    }

    /// Draws image | truth | source-only | adapted, of the models that there are, for a few images spread over the set.
    fn draw(
        &self,
        set: &PathName,
        index: usize,
        images: usize,
        example: &Example,
        predicted: Predictions<'_>,
    ) -> Result<(), StageError> {
        let examples = (self.context.spec.config().evaluate.examples as usize).min(images);
        let Some(number) = (0..examples).find(|number| number * images / examples == index) else {
            return Ok(());
        };
        let picture = picture_of(example);
        let truth = LabelMap {
            size: example.size,
            ids: example.label.clone(),
        };
        let classes = &self.context.resources.classes;
        let truth = coloured(&truth, classes);
        let predicted = predicted()?;
        let panels: Vec<Image> = predicted
            .iter()
            .take(2)
            .map(|map| coloured(map, classes))
            .collect();
        let mut row = vec![&picture, &truth];
        row.extend(&panels);
        let folder: PathBuf = self.context.resources.run_directory.join("examples").join(set);
        std::fs::create_dir_all(&folder).map_err(|source| StageError::Write {
            path: folder.clone(),
            source,
        })?;
        write_rgb(&folder.join(format!("{number:02}.png")), &strip(&row, STRIP_GAP)?)?;
        self.context.left(format!("examples/{set}/{number:02}.png"));
        Ok(())
    }
}

/// The example's image before normalisation.
fn picture_of(example: &Example) -> Image {
    let rgb = match &example.image {
        ImagePixels::Rgb(rgb) => rgb.clone(),
        ImagePixels::Normalised(values) => bytes_of(values, example.size.pixels()),
    };
    Image {
        size: example.size,
        rgb,
    }
}

/// Normalised `values` of an image of `area` pixels as they were in its file.
fn bytes_of(values: &[f32], area: usize) -> Vec<u8> {
    let mut rgb = vec![0u8; 3 * area];
    for channel in 0..3 {
        let (mean, deviation) = (ulda_dataset::CLIP_MEAN[channel], ulda_dataset::CLIP_STD[channel]);
        for (pixel, value) in values[channel * area..(channel + 1) * area].iter().enumerate() {
            rgb[pixel * 3 + channel] = ((value * deviation + mean) * 255.0).round().clamp(0.0, 255.0) as u8;
        }
    }
    rgb
}

impl StageRun for Evaluate<'_> {
    fn step(&mut self, step: u64) -> Result<Progress, StageError> {
        let started = Instant::now();
        let cursor = Cursor {
            stage: Stage::Evaluate,
            step,
        };
        let (name, dataset) = &self.context.resources.sets[step as usize];
        let heads: Vec<&Head> = self.models.iter().map(|(_, head)| head).collect();
        let images = Images { dataset, part: 0 };
        let matrices = score(
            self.context,
            cursor,
            images,
            &heads,
            |index, example, predicted| {
                // A picture is no reason to lose a worker.
                if let Err(error) = self.draw(name, index, dataset.len(), example, predicted) {
                    tracing::warn!(error = error.with_hint(), set = %name, "example not written");
                }
                Ok(())
            },
        )?;
        let seconds = started.elapsed().as_secs_f64();
        let mut by_model = std::collections::BTreeMap::new();
        for ((model, _), matrix) in self.models.iter().zip(&matrices) {
            by_model.insert((*model).to_owned(), matrix.counts().to_vec());
            if self.context.leads() {
                self.context.tell(ShardEvent::Report(Report::Evaluation {
                    model,
                    set: name.to_string(),
                    confusion: matrix.counts().to_vec(),
                    images: dataset.len() as u64,
                    at: cursor,
                    seconds: seconds / self.models.len() as f64,
                }));
            }
        }
        self.confusion.insert(name.to_string(), by_model);
        Ok(Progress {
            phase_seconds: vec![("forward", seconds)],
            images: if self.context.leads() {
                dataset.len() as u64
            } else {
                0
            },
            ..Progress::default()
        })
    }

    fn save(&self, state: &mut RunState, _extent: Extent) -> Result<(), StageError> {
        state.set_fact(names::CONFUSION, &self.confusion);
        Ok(())
    }
}
