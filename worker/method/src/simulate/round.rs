//! The inner iterations of one batch.

use tch::{Tensor, no_grad};
use ulda_model::{Backbone, Head};
use ulda_torch::runtime::ExactProducts;

use super::batch::RoundBatch;
use super::group::DomainGroup;
use super::pass::{GroupPass, PassResult};
use super::values::numbers;
use super::{
    DomainGradient, DomainLosses, DomainReport, IterationReport, ProjectorReduce, Prototype,
    PrototypeExchange, SimulateSettings,
};
use crate::error::{MethodError, Result};
use crate::pin::{Style, StyleGradient};
use crate::projector::Projector;
use crate::stylebank::BankStyle;
use crate::timing::{Phases, timed};

/// The frozen networks of stage 1.
#[derive(Clone, Copy)]
pub struct Networks<'a> {
    /// CLIP's image tower: low-level feature and scene term.
    pub clip: &'a Backbone,
    /// Needed when the segmentation term is weighted.
    pub segmentation: Option<Segmenter<'a>>,
}

/// The source model: its (equal, but possibly separately loaded) backbone and its head, which runs in train mode
/// and is not trained.
#[derive(Clone, Copy)]
pub struct Segmenter<'a> {
    pub backbone: &'a Backbone,
    pub head: &'a Head,
}

/// Where the styles start.
#[derive(Debug)]
pub enum Start<'a> {
    /// At the statistics of the low-level feature, as published.
    Content,
    /// At given values, one per domain held here, in the projectors' order.
    Given(&'a [Style]),
}

/// A projector and the domain it belongs to; it outlives the round.
#[derive(Debug)]
pub struct DomainProjector {
    pub domain: usize,
    pub projector: Projector,
}

/// How a round reaches the other workers, and its seeds.
pub struct Hooks<'a> {
    pub exchange: &'a dyn PrototypeExchange,
    pub reduce: &'a dyn ProjectorReduce,
    /// Seed of the head's dropout for (iteration, domain).
    pub dropout_seed: &'a dyn Fn(usize, usize) -> u64,
}

/// A learned style of one domain for all images of the batch.
#[derive(Debug)]
pub struct DomainStyle {
    pub domain: usize,
    /// [B, C₁, 1, 1].
    pub mean: Tensor,
    /// [B, C₁, 1, 1]; may be negative after the last update, as published.
    pub std: Tensor,
}

impl DomainStyle {
    /// The style of one image of the batch, as a bank keeps it.
    ///
    /// # Errors
    /// When the batch has no such image.
    pub fn of_image(&self, image: usize) -> Result<BankStyle> {
        BankStyle::from_tensors(&self.mean.f_get(image as i64)?, &self.std.f_get(image as i64)?)
    }
}

/// One batch of one data shard: all inner iterations for the domains held here.
pub struct Round<'a> {
    settings: SimulateSettings,
    networks: Networks<'a>,
    batch: &'a RoundBatch,
    projectors: &'a mut [DomainProjector],
    /// Of the projectors' domains, in their order, `domains_at_once` each and the last of what is left.
    groups: Vec<DomainGroup>,
    done: usize,
}

impl<'a> Round<'a> {
    /// Prepares a round with fresh optimiser state. `projectors` names the domains held here, in domain order.
    ///
    /// # Errors
    /// When a setting means nothing, a network is missing, the batch is too small for the head's BatchNorm, or a
    /// projector does not fit.
    pub fn begin(
        settings: SimulateSettings,
        networks: Networks<'a>,
        batch: &'a RoundBatch,
        projectors: &'a mut [DomainProjector],
        start: Start<'_>,
    ) -> Result<Round<'a>> {
        settings.check()?;
        if settings.weights.seg != 0.0 {
            if networks.segmentation.is_none() {
                return Err(MethodError::MissingNetwork {
                    loss: "the segmentation loss",
                    needs: "segmentation network",
                });
            }
            if batch.len() < 2 {
                return Err(MethodError::BatchTooSmall {
                    stage: "simulate",
                    images: batch.len() as i64,
                });
            }
        }
        let channels = batch.content.mean.size()[1];
        for (at, owned) in projectors.iter().enumerate() {
            let ordered = at == 0 || projectors[at - 1].domain < owned.domain;
            if owned.domain >= batch.domains || !ordered {
                return Err(MethodError::State {
                    name: format!("projector of domain {}", owned.domain),
                    problem: format!(
                        "out of place; domains go up from 0 to {}",
                        batch.domains.saturating_sub(1)
                    ),
                });
            }
            crate::error::expect_shape(
                "projector.0.weight",
                &owned.projector.parameters()[0],
                &[-1, channels],
            )?;
        }
        let mut groups = Vec::new();
        for (at, owned) in projectors.chunks(settings.domains_at_once).enumerate() {
            let first = at * settings.domains_at_once;
            groups.push(DomainGroup::begin(&settings, batch, owned, &start, first)?);
        }
        Ok(Round {
            settings,
            networks,
            batch,
            projectors,
            groups,
            done: 0,
        })
    }

    /// Iterations done so far.
    pub fn done(&self) -> usize {
        self.done
    }

    /// One iteration: forward, losses, gradients, updates.
    ///
    /// # Errors
    /// When the exchange fails, a loss is not finite or libtorch refuses an operation; the round is then unusable.
    pub fn iterate(&mut self, hooks: &Hooks<'_>) -> Result<IterationReport> {
        let iteration = self.done + 1;
        let mut phases = Phases::default();
        let (cross, mut cross_gradients) = self.cross(iteration, hooks.exchange, &mut phases)?;
        let mut results: Vec<PassResult> = Vec::with_capacity(self.groups.len());
        let owned = self.projectors.chunks(self.settings.domains_at_once);
        for (at, (group, owned)) in self.groups.iter_mut().zip(owned).enumerate() {
            let styled = timed(&mut phases.forward, || {
                no_grad(|| group.style.forward(&self.batch.content_norm))
            })?;
            let seed = |owned: &DomainProjector| (hooks.dropout_seed)(iteration, owned.domain);
            let pass = GroupPass {
                group,
                owned,
                batch: self.batch,
                settings: &self.settings,
                networks: &self.networks,
                cross: std::mem::take(&mut cross_gradients[at]),
                dropout_seeds: owned.iter().map(seed).collect(),
            };
            results.push(pass.run(&styled, &mut phases)?);
        }
        // A device is waited for only when it has been told everything.
        let (losses, cross) = timed(&mut phases.backward, || self.read(&results, &cross))?;
        self.reduce(iteration, hooks.reduce, &mut results, &mut phases)?;
        self.update(&results, &mut phases)?;
        self.done = iteration;
        Ok(IterationReport {
            iteration,
            domains: reports(losses, results)?,
            cross,
            phases,
        })
    }

    /// Runs the iterations that are left and hands each report to `observe`.
    ///
    /// # Errors
    /// As [`Round::iterate`].
    pub fn run(
        mut self,
        hooks: &Hooks<'_>,
        mut observe: impl FnMut(&IterationReport),
    ) -> Result<Vec<DomainStyle>> {
        while self.done < self.settings.iterations {
            observe(&self.iterate(hooks)?);
        }
        self.styles()
    }

    /// Copies of the styles as they are now, in domain order.
    ///
    /// # Errors
    /// When libtorch is out of memory.
    pub fn styles(&self) -> Result<Vec<DomainStyle>> {
        let styles = self.groups.iter().map(DomainGroup::styles);
        Ok(styles
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// The projectors as they are now.
    pub fn projectors(&self) -> &[DomainProjector] {
        self.projectors
    }

    /// L_cross per image, unread, and for each group its gradient [G, K, E] per image; None where it is absent.
    #[expect(clippy::type_complexity, reason = "two lists, named in the text above")]
    fn cross(
        &mut self,
        iteration: usize,
        exchange: &dyn PrototypeExchange,
        phases: &mut Phases,
    ) -> Result<(Vec<Option<Tensor>>, Vec<Vec<Option<Tensor>>>)> {
        let images = self.batch.len();
        let mut values: Vec<Option<Tensor>> = (0..images).map(|_| None).collect();
        let mut gradients: Vec<Vec<Option<Tensor>>> = self.groups.iter().map(|_| Vec::new()).collect();
        if self.settings.weights.cross == 0.0 {
            return Ok((values, gradients));
        }
        let mut mine = Vec::with_capacity(self.projectors.len() * images);
        let owned = self.projectors.chunks(self.settings.domains_at_once);
        for (group, owned) in self.groups.iter_mut().zip(owned) {
            mine.extend(timed(&mut phases.forward, || {
                group.prototypes(self.batch, owned)
            })?);
        }
        let all = timed(&mut phases.reduce, || exchange.gather(iteration, mine))?;
        let all = in_order(all, self.batch.domains, images, iteration)?;
        timed(&mut phases.forward, || {
            let _exact = ExactProducts::enter()?;
            no_grad(|| {
                for (image, texts) in self.batch.images.iter().enumerate() {
                    let Some(target) = &texts.cross else {
                        gradients.iter_mut().for_each(|group| group.push(None));
                        continue;
                    };
                    let rows: Vec<&Tensor> = (0..self.batch.domains)
                        .map(|d| &all[d * images + image].rows)
                        .collect();
                    let term = target.compare(&Tensor::f_stack(&rows, 0)?)?;
                    values[image] = Some(term.value);
                    for (gradients, group) in gradients.iter_mut().zip(&self.groups) {
                        gradients.push(Some(group.part_of(&term.gradient)?));
                    }
                }
                Ok((values, gradients))
            })
        })
    }

    /// Waits, once, for the losses of the domains held here and for L_cross per image, 0 where it is absent.
    fn read(
        &self,
        results: &[PassResult],
        cross: &[Option<Tensor>],
    ) -> Result<(Vec<DomainLosses>, Vec<f64>)> {
        let losses = results.iter().flat_map(|result| result.losses.tensors());
        let values = numbers(losses.chain(cross.iter().flatten()))?;
        let mut rest = values.as_slice();
        let mut losses = Vec::with_capacity(self.projectors.len());
        for (group, result) in self.groups.iter().zip(results) {
            let count = result.losses.tensors().map(Tensor::numel).sum();
            let (own, others) = rest.split_at(count);
            losses.extend(result.losses.named(own, &group.domains, self.batch.len())?);
            rest = others;
        }
        let mut present = rest.iter().copied();
        let cross = cross
            .iter()
            .map(|value| value.as_ref().and_then(|_| present.next()));
        Ok((losses, cross.map(Option::unwrap_or_default).collect()))
    }

    fn reduce(
        &self,
        iteration: usize,
        reduce: &dyn ProjectorReduce,
        results: &mut [PassResult],
        phases: &mut Phases,
    ) -> Result<()> {
        if !self.settings.weights.needs_projector() {
            return Ok(());
        }
        timed(&mut phases.reduce, || {
            let mut gradients: Vec<_> = results
                .iter_mut()
                .flat_map(|result| &mut result.projectors)
                .collect();
            let mut flat = Vec::with_capacity(gradients.len());
            for (owned, gradient) in self.projectors.iter().zip(&gradients) {
                let parts = gradient.iter().map(|part| part.f_flatten(0, -1));
                flat.push((
                    owned.domain,
                    Tensor::f_cat(&parts.collect::<Result<Vec<_>, _>>()?, 0)?,
                ));
            }
            reduce.reduce(iteration, &mut flat)?;
            for ((_, flat), gradient) in flat.iter().zip(&mut gradients) {
                let mut at = 0;
                for part in gradient.iter_mut() {
                    let count = part.numel() as i64;
                    *part = flat.f_narrow(0, at, count)?.f_view_as(part)?;
                    at += count;
                }
            }
            Ok(())
        })
    }

    fn update(&mut self, results: &[PassResult], phases: &mut Phases) -> Result<()> {
        timed(&mut phases.optimise, || {
            let owned = self.projectors.chunks(self.settings.domains_at_once);
            for ((group, owned), result) in self.groups.iter_mut().zip(owned).zip(results) {
                group.update(owned, result)?;
            }
            Ok(())
        })
    }
}

/// Each domain's part of what the groups gave, in domain order.
fn reports(losses: Vec<DomainLosses>, results: Vec<PassResult>) -> Result<Vec<DomainReport>> {
    let mut losses = losses.into_iter();
    let mut reports = Vec::with_capacity(losses.len());
    for result in results {
        let count = result.projectors.len() as i64;
        let means = result.style.mean.f_chunk(count, 0)?.into_iter();
        let styles = means.zip(result.style.std.f_chunk(count, 0)?);
        let parts = losses
            .by_ref()
            .zip(styles)
            .zip(result.projectors)
            .zip(result.batch_stats);
        reports.extend(parts.map(|(((losses, (mean, std)), projector), batch_stats)| {
            let style = StyleGradient { mean, std };
            DomainReport {
                losses,
                gradient: DomainGradient { style, projector },
                batch_stats,
            }
        }));
    }
    Ok(reports)
}

/// Sorts by (domain, image) and insists on one entry each.
fn in_order(
    mut all: Vec<Prototype>,
    domains: usize,
    images: usize,
    iteration: usize,
) -> Result<Vec<Prototype>> {
    all.sort_by_key(|prototype| (prototype.domain, prototype.image));
    let expected = (0..domains).flat_map(|domain| (0..images).map(move |image| (domain, image)));
    if all
        .iter()
        .map(|prototype| (prototype.domain, prototype.image))
        .eq(expected)
    {
        return Ok(all);
    }
    let found: Vec<String> = all
        .iter()
        .map(|prototype| format!("({}, {})", prototype.domain, prototype.image))
        .collect();
    Err(MethodError::IncompletePrototypes {
        iteration,
        domains,
        images,
        found: format!("got {}", found.join(" ")),
    })
}
