//! The styles that adapt draws for the images of a step.

use std::collections::HashMap;
use std::ops::Range;

use tch::{Device, Tensor};
use ulda_method::stylebank::{DrawnStyles, StyleBank};
use ulda_run::plan::{Batches, draw_mix, draw_own_styles, draw_styles};
use ulda_run::spec::StyleDraw;
use ulda_run::stage::Stage;
use ulda_torch::upload;

use super::StageError;
use super::context::Context;
use crate::style_sources::TooFewStyles;

pub struct Styles {
    bank: StyleBank,
    seed: u64,
    batch: usize,
    draw: Draw,
}

enum Draw {
    Any {
        repeats: bool,
    },
    /// Of each training image, which styles of the bank were made from it.
    Own {
        batches: Batches,
        of_image: Vec<Range<usize>>,
    },
}

impl Styles {
    /// # Errors
    /// When the bank has too few styles for what `adapt.draw` asks.
    pub fn new(context: &Context, bank: StyleBank) -> Result<Self, StageError> {
        let config = context.spec.config();
        let (seed, batch) = (config.run.seed, config.adapt.batch);
        TooFewStyles::check(config, "the style bank", bank.len())?;
        let draw = match config.adapt.draw {
            StyleDraw::Different => Draw::Any { repeats: false },
            StyleDraw::Any => Draw::Any { repeats: true },
            StyleDraw::Own => Draw::Own {
                batches: Batches::new(seed, Stage::Adapt, context.resources.train.len(), batch),
                of_image: own_styles(context, &bank)?,
            },
        };
        let batch = batch as usize;
        Ok(Self {
            bank,
            seed,
            batch,
            draw,
        })
    }

    /// Styles of the images `mine` of the batch of `step`, on `device`.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn of_step(
        &mut self,
        step: u64,
        mine: Range<usize>,
        device: Device,
    ) -> Result<DrawnStyles, StageError> {
        let drawn = match &mut self.draw {
            Draw::Any { repeats } => draw_styles(self.seed, step, self.batch, self.bank.len(), *repeats),
            Draw::Own { batches, of_image } => {
                let batch = batches.batch(step);
                let own: Vec<_> = batch
                    .iter()
                    .map(|sample| of_image[sample.index].clone())
                    .collect();
                draw_own_styles(self.seed, step, &own)
            }
        };
        Ok(self.bank.gather(&drawn[mine], device)?)
    }

    /// Where styles are mixed, the share of its own statistics in each channel of the images `mine` of the batch of
    /// `step`, [n, C₁, 1, 1] on `device`.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn mix_of_step(&self, step: u64, mine: Range<usize>, device: Device) -> Result<Tensor, StageError> {
        let channels = self.bank.header().channels;
        let images = mine.len() as i64;
        let shares = mine.flat_map(|image| draw_mix(self.seed, step, image, channels));
        let shares = Tensor::f_from_slice(&shares.collect::<Vec<f32>>())?;
        let shares = shares.f_view([images, channels as i64, 1, 1])?;
        Ok(upload(&shares, device)?)
    }
}

/// Of each training image the positions of its styles in the bank, which are neighbours.
fn own_styles(context: &Context, bank: &StyleBank) -> Result<Vec<Range<usize>>, StageError> {
    let mut found: HashMap<&str, Range<usize>> = HashMap::new();
    for (at, (image, _, _)) in bank.iter().enumerate() {
        found.entry(image).or_insert(at..at).end = at + 1;
    }
    let samples = context.resources.train.samples.iter();
    let own = samples.map(|sample| found.get(sample.name.as_str()).cloned());
    let missing = own.clone().filter(Option::is_none).count();
    if missing > 0 {
        return Err(StageError::NoOwnStyle {
            missing,
            images: context.resources.train.len(),
        });
    }
    Ok(own.flatten().collect())
}
