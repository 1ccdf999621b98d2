//! The alignment branch of a pass: the terms that compare a feature's pixels and class prototypes with texts.

use tch::{Kind, Tensor};

use super::group::{pixels_of, projectors_of};
use super::pass::GroupPass;
use super::values::{Term, UnreadLosses};
use crate::error::Result;
use crate::losses::region::prototypes;
use crate::losses::{intra, pixel, region};
use crate::projector::Projectors;

impl GroupPass<'_> {
    /// Region, pixel, intra and the injected cross gradient of all images and domains as one weighted root; None when
    /// no image has classes. Images have classes of their own, so each is computed by itself, for all domains at once.
    pub(super) fn alignment(&self, styled: &Tensor, losses: &mut UnreadLosses) -> Result<Option<Tensor>> {
        let (weights, temperature) = (&self.settings.weights, self.settings.temperature);
        let images = self.batch.len() as f64;
        let share = 1.0 / (images * self.batch.domains as f64);
        let projectors = Projectors::of(&projectors_of(self.owned))?;
        let fused = match weights.pixel != 0.0 {
            true => Some(projectors.fused()?),
            false => None,
        };
        let mut root = Root(None);
        let pixels = pixels_of(styled, self.group.domains.len())?;
        for (image, pixels) in pixels.iter().enumerate() {
            let (map, texts) = (&self.batch.images[image].map, &self.group.region[image]);
            if map.count() == 0 {
                continue;
            }
            if let Some(fused) = &fused {
                let loss = pixel::pixel(pixels, map, texts, fused, temperature)?;
                losses.keep(Term::Pixel(image), &loss);
                root.add(&loss, weights.pixel * share)?;
            }
            if !weights.needs_prototypes() {
                continue;
            }
            let rows = prototypes(pixels, map, &projectors)?;
            let region = region::region(&rows, texts, temperature)?;
            losses.keep(Term::Region(image), &region);
            if weights.region != 0.0 {
                root.add(&region, weights.region * share)?;
            }
            let intra = intra::intra(&rows, texts)?;
            losses.keep(Term::Intra(image), &intra);
            if weights.intra != 0.0 {
                root.add(&intra, weights.intra * share)?;
            }
            if let Some(Some(gradient)) = self.cross.get(image) {
                root.add(&rows.f_mul(gradient)?, weights.cross / images)?;
            }
        }
        Ok(root.0)
    }
}

/// A weighted sum that grows.
struct Root(Option<Tensor>);

impl Root {
    /// Adds `weight` times the sum of `terms`.
    fn add(&mut self, terms: &Tensor, weight: f64) -> Result<()> {
        let weighted = terms.f_sum(None::<Kind>)?.f_mul_scalar(weight)?;
        self.0 = Some(match self.0.take() {
            Some(sum) => sum.f_add(&weighted)?,
            None => weighted,
        });
        Ok(())
    }
}
