//! The inner iterations of one batch.

use tch::{Tensor, no_grad};
use ulda_model::{Backbone, Head};

use super::batch::RoundBatch;
use super::pass::{DomainPass, PassResult, detached_prototypes};
use super::{
    DomainGradient, DomainReport, IterationReport, ProjectorReduce, Prototype, PrototypeExchange,
    SimulateSettings,
};
use crate::error::{MethodError, Result};
use crate::optim::Sgd;
use crate::pin::Style;
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

/// How a round reaches the other workers, and its luck.
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

struct Held {
    style: Style,
    style_sgd: Sgd,
    projector_sgd: Sgd,
}

/// One batch of one data shard: all inner iterations for the domains held here.
pub struct Round<'a> {
    settings: SimulateSettings,
    networks: Networks<'a>,
    batch: &'a RoundBatch,
    projectors: &'a mut [DomainProjector],
    held: Vec<Held>,
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
        let mut held = Vec::with_capacity(projectors.len());
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
            let style = match start {
                Start::Content => Style::from_content(&batch.content)?,
                Start::Given(styles) => {
                    let style = styles.get(at).ok_or_else(|| MethodError::State {
                        name: format!("start style of domain {}", owned.domain),
                        problem: "missing".into(),
                    })?;
                    crate::error::expect_shape("start style", &style.mean, &batch.content.mean.size())?;
                    Style::from_values(&style.mean, &style.std)?
                }
            };
            let pair = [style.mean.shallow_clone(), style.std.shallow_clone()];
            let style_sgd = Sgd::new(&pair, settings.style_lr, settings.sgd)?;
            let projector_sgd = Sgd::new(&owned.projector.parameters(), settings.projector_lr, settings.sgd)?;
            held.push(Held {
                style,
                style_sgd,
                projector_sgd,
            });
        }
        Ok(Round {
            settings,
            networks,
            batch,
            projectors,
            held,
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
        let mut results: Vec<PassResult> = Vec::with_capacity(self.held.len());
        for (at, (held, owned)) in self.held.iter_mut().zip(&*self.projectors).enumerate() {
            let pass = DomainPass {
                domain: owned.domain,
                batch: self.batch,
                settings: &self.settings,
                networks: &self.networks,
                projector: &owned.projector,
                cross: std::mem::take(&mut cross_gradients[at]),
                dropout_seed: (hooks.dropout_seed)(iteration, owned.domain),
            };
            results.push(pass.run(&mut held.style, &mut phases)?);
        }
        self.reduce(iteration, hooks.reduce, &mut results, &mut phases)?;
        self.update(&results, &mut phases)?;
        self.done = iteration;
        let domains = results
            .into_iter()
            .map(|result| DomainReport {
                losses: result.losses,
                gradient: DomainGradient {
                    style: result.style,
                    projector: result.projector,
                },
                batch_stats: result.batch_stats,
            })
            .collect();
        Ok(IterationReport {
            iteration,
            domains,
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
        let mut styles = Vec::with_capacity(self.held.len());
        for (held, owned) in self.held.iter().zip(&*self.projectors) {
            let (mean, std) = held.style.snapshot()?;
            styles.push(DomainStyle {
                domain: owned.domain,
                mean,
                std,
            });
        }
        Ok(styles)
    }

    /// The projectors as they are now.
    pub fn projectors(&self) -> &[DomainProjector] {
        self.projectors
    }

    /// L_cross per image, and for each domain held here its gradient per image.
    #[expect(clippy::type_complexity, reason = "two lists, named in the text above")]
    fn cross(
        &mut self,
        iteration: usize,
        exchange: &dyn PrototypeExchange,
        phases: &mut Phases,
    ) -> Result<(Vec<f64>, Vec<Vec<Option<Tensor>>>)> {
        let images = self.batch.len();
        let mut values = vec![0.0; images];
        let mut gradients: Vec<Vec<Option<Tensor>>> = self.held.iter().map(|_| Vec::new()).collect();
        if self.settings.weights.cross == 0.0 {
            return Ok((values, gradients));
        }
        let mut mine = Vec::with_capacity(self.held.len() * images);
        for (held, owned) in self.held.iter_mut().zip(&*self.projectors) {
            let found = timed(&mut phases.forward, || {
                detached_prototypes(owned.domain, self.batch, &mut held.style, &owned.projector)
            })?;
            mine.extend(found);
        }
        let all = timed(&mut phases.reduce, || exchange.gather(iteration, mine))?;
        let all = in_order(all, self.batch.domains, images, iteration)?;
        timed(&mut phases.forward, || {
            no_grad(|| {
                for (image, texts) in self.batch.images.iter().enumerate() {
                    let Some(target) = &texts.cross else {
                        gradients.iter_mut().for_each(|domain| domain.push(None));
                        continue;
                    };
                    let rows: Vec<&Tensor> = (0..self.batch.domains)
                        .map(|d| &all[d * images + image].rows)
                        .collect();
                    let term = target.compare(&Tensor::f_stack(&rows, 0)?)?;
                    values[image] = term.value;
                    for (domain, owned) in gradients.iter_mut().zip(&*self.projectors) {
                        domain.push(Some(term.gradient.f_get(owned.domain as i64)?));
                    }
                }
                Ok((values, gradients))
            })
        })
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
            let mut flat = Vec::with_capacity(results.len());
            for (owned, result) in self.projectors.iter().zip(results.iter()) {
                let parts = result
                    .projector
                    .iter()
                    .map(|part| part.f_flatten(0, -1))
                    .collect::<Result<Vec<_>, _>>()?;
                flat.push((owned.domain, Tensor::f_cat(&parts, 0)?));
            }
            reduce.reduce(iteration, &mut flat)?;
            for ((_, flat), result) in flat.iter().zip(results.iter_mut()) {
                let mut at = 0;
                for part in &mut result.projector {
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
            for ((held, owned), result) in self.held.iter_mut().zip(&*self.projectors).zip(results) {
                let mut style = [held.style.mean.shallow_clone(), held.style.std.shallow_clone()];
                let gradient = [
                    result.style.mean.shallow_clone(),
                    result.style.std.shallow_clone(),
                ];
                held.style_sgd.step(&mut style, &gradient)?;
                if !result.projector.is_empty() {
                    held.projector_sgd
                        .step(&mut owned.projector.parameters(), &result.projector)?;
                }
            }
            Ok(())
        })
    }
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
