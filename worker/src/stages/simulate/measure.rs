//! Styles that are not learned: the statistics of source crops (a control), or of images that the domains name.

use std::time::{Duration, Instant};

use tch::{Tensor, no_grad};
use ulda_dataset::{LEAST_SIDE, check_least, normalise, read_image};
use ulda_method::stats::Stats;
use ulda_method::stylebank::{BankStyle, StyleBank};
use ulda_run::plan::{Batches, Lane, Lanes};
use ulda_run::spec::StyleSource;
use ulda_run::stage::{Cursor, Stage};
use ulda_torch::upload;

use super::bank::{empty_bank, keep_styles};
use super::pieces::BankPieces;
use super::{batches, feed, image_names, lanes};
use crate::link::{At, Op};
use crate::progress::Progress;
use crate::stages::context::Context;
use crate::stages::feed::Feed;
use crate::stages::{Extent, StageError, StageRun};
use crate::state::RunState;
use crate::style_sources::StyleImage;

/// Least time between two notes on how far a shard has come.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Statistics of the low-level feature of `images` [B, 3, H, W].
fn stats_of(context: &Context, images: &Tensor) -> Result<Stats, StageError> {
    Ok(no_grad(|| {
        Stats::of(&context.resources.clip.stem_and_layer1(images))
    })?)
}

/// An image that a domain names, normalised as CLIP's, [1, 3, H, W] on the run's device.
fn pixels_of(context: &Context, image: &StyleImage) -> Result<Tensor, StageError> {
    let picture = read_image(&image.path)?;
    check_least(&image.path, picture.size, LEAST_SIDE)?;
    let (height, width) = (i64::from(picture.size.height), i64::from(picture.size.width));
    let pixels = Tensor::f_from_slice(&normalise(&picture))?.f_view([1, 3, height, width])?;
    Ok(upload(&pixels, context.resources.device)?)
}

/// Statistics of an image that a domain names.
///
/// # Errors
/// When it cannot be read or is too small.
pub(super) fn stats_of_image(context: &Context, image: &StyleImage) -> Result<Stats, StageError> {
    stats_of(context, &pixels_of(context, image)?)
}

/// Stage 1 without learning.
pub struct Measure<'a> {
    context: &'a Context,
    styles: BankPieces,
    of: Of,
}

/// What is measured.
enum Of {
    /// Batches of source crops, by the first lane of each data shard.
    Source {
        lanes: Lanes,
        lane: Option<Lane>,
        feed: Option<Box<Feed>>,
        batches: Batches,
    },
    /// Given images, dealt over all shards in the stage's only step.
    Images,
}

/// What a shard has measured in a step.
struct Measured {
    bank: StyleBank,
    waited: Duration,
}

impl<'a> Measure<'a> {
    /// # Errors
    /// When the state's bank was made with other weights or domains, or decoding cannot be started.
    pub fn begin(context: &'a Context, state: &RunState) -> Result<Self, StageError> {
        let of = match context.spec.config().simulate.styles {
            StyleSource::Images => Of::Images,
            StyleSource::Learned | StyleSource::Content | StyleSource::Bank => {
                let lanes = lanes(context);
                let lane = lanes.of_shard(context.link.shard());
                let lane = lane.filter(|lane| lane.prompt_group == 0);
                let feed = lane.map(|lane| feed(context, &lanes, lane, state.cursor.step));
                Of::Source {
                    lanes,
                    lane,
                    feed: feed.transpose()?.map(Box::new),
                    batches: batches(context),
                }
            }
        };
        Ok(Self {
            context,
            styles: BankPieces::of(context, state)?,
            of,
        })
    }

    /// One style per image of a batch.
    fn styles_of(&self, stats: &Stats) -> Result<Vec<BankStyle>, StageError> {
        let rows = stats.mean.f_unbind(0)?.into_iter().zip(stats.std.f_unbind(0)?);
        let styles = rows.map(|(mean, std)| BankStyle::from_tensors(&mean, &std));
        Ok(styles.collect::<Result<_, _>>()?)
    }

    /// The styles of this shard's batch: every domain gets those of the crops.
    fn measure_source(&mut self, step: u64) -> Result<Measured, StageError> {
        let mut measured = Measured::empty(self.context);
        let Of::Source {
            lanes,
            lane: Some(lane),
            feed: Some(feed),
            batches,
        } = &mut self.of
        else {
            return Ok(measured);
        };
        let names = image_names(self.context, batches, lanes, step, *lane);
        let batch = feed.next()?;
        let styles = self.styles_of(&stats_of(self.context, &batch.images)?)?;
        for domain in 0..self.context.spec.config().domains.len() {
            for (name, style) in names.iter().zip(&styles) {
                measured.bank.insert(name, domain, style.clone())?;
            }
        }
        measured.waited = batch.waited;
        Ok(measured)
    }

    /// The styles of this shard's images.
    fn measure_images(&self, step: u64) -> Result<Measured, StageError> {
        let mut measured = Measured::empty(self.context);
        let all = &self.context.resources.style_images;
        let (shard, shards) = (
            self.context.link.shard() as usize,
            self.context.link.shards() as usize,
        );
        let mut noted = Instant::now();
        for (index, image) in all.iter().enumerate().skip(shard).step_by(shards) {
            self.context.interrupt.check()?;
            let reading = Instant::now();
            let pixels = pixels_of(self.context, image)?;
            measured.waited += reading.elapsed();
            for style in self.styles_of(&stats_of(self.context, &pixels)?)? {
                measured.bank.insert(&image.name, image.domain, style)?;
            }
            if noted.elapsed() >= NOTE_EVERY {
                noted = Instant::now();
                let stage = Stage::Simulate;
                let note = format!("image {} of {}", index + 1, all.len());
                self.context.activity(Cursor { stage, step }, note);
            }
        }
        Ok(measured)
    }
}

impl Measured {
    fn empty(context: &Context) -> Self {
        Self {
            bank: empty_bank(context),
            waited: Duration::ZERO,
        }
    }
}

impl StageRun for Measure<'_> {
    fn step(&mut self, step: u64) -> Result<Progress, StageError> {
        let began = Instant::now();
        let config = &self.context.spec.config().simulate;
        let (measured, images) = match &self.of {
            Of::Source { .. } => (
                self.measure_source(step)?,
                config.batch as usize * config.data_shards as usize,
            ),
            Of::Images => (
                self.measure_images(step)?,
                self.context.resources.style_images.len(),
            ),
        };
        let measuring = began.elapsed().saturating_sub(measured.waited);
        let sharing = Instant::now();
        let link = &self.context.link;
        let at = At::step(Stage::Simulate, step);
        let parts = link.gather(at, Op::RoundResult, &link.everyone(), &measured.bank.to_bytes()?)?;
        let mut round = empty_bank(self.context);
        for part in &parts {
            round.merge(
                StyleBank::from_bytes(part, "styles of a shard")?,
                "styles of a shard",
            )?;
        }
        self.styles.add(step, &round)?;
        Ok(Progress {
            phase_seconds: vec![
                ("data", measured.waited.as_secs_f64()),
                ("forward", measuring.as_secs_f64()),
                ("reduce", sharing.elapsed().as_secs_f64()),
            ],
            images: if self.context.leads() { images as u64 } else { 0 },
            ..Progress::default()
        })
    }

    fn save(&self, state: &mut RunState, extent: Extent) -> Result<(), StageError> {
        keep_styles(self.context, &self.styles, state, extent)
    }
}
