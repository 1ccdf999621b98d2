//! Domains that are computed as one batch, and what a round keeps of them from one iteration to the next.

use tch::{Tensor, no_grad};
use ulda_torch::runtime::ExactProducts;
use ulda_torch::upload;

use super::batch::RoundBatch;
use super::pass::PassResult;
use super::round::{DomainProjector, Start};
use super::{DomainStyle, Prototype, SimulateSettings};
use crate::error::{MethodError, Result, expect_shape};
use crate::losses::region::prototypes;
use crate::optim::Sgd;
use crate::pin::Style;
use crate::projector::{Projector, Projectors};

/// G domains of a round. In every tensor of a group the domain comes first.
pub(super) struct DomainGroup {
    pub domains: Vec<usize>,
    /// Scene texts [G, E].
    pub scene: Tensor,
    /// Per image the region texts of the classes present [G, K, E].
    pub region: Vec<Tensor>,
    /// [G·B, C₁, 1, 1].
    pub style: Style,
    /// `domains` as an index tensor.
    index: Tensor,
    style_sgd: Sgd,
    projector_sgd: Sgd,
}

impl DomainGroup {
    /// A group of the domains that `owned` names, with fresh optimiser state; `first` is the position of the first of
    /// them among all that are held here.
    ///
    /// # Errors
    /// When a start style is missing or does not fit.
    pub fn begin(
        settings: &SimulateSettings,
        batch: &RoundBatch,
        owned: &[DomainProjector],
        start: &Start<'_>,
        first: usize,
    ) -> Result<DomainGroup> {
        let domains: Vec<usize> = owned.iter().map(|owned| owned.domain).collect();
        let numbers: Vec<i64> = domains.iter().map(|domain| *domain as i64).collect();
        let index = upload(&Tensor::f_from_slice(&numbers)?, batch.scene.device())?;
        let region = batch
            .images
            .iter()
            .map(|image| image.texts.f_index_select(0, &index));
        let style = start_style(batch, &domains, start, first)?;
        let pair = [style.mean.shallow_clone(), style.std.shallow_clone()];
        Ok(DomainGroup {
            scene: batch.scene.f_index_select(0, &index)?,
            region: region.collect::<Result<_, _>>()?,
            style_sgd: Sgd::new(&pair, settings.style_lr, settings.sgd)?,
            projector_sgd: Sgd::new(&parameters_of(owned), settings.projector_lr, settings.sgd)?,
            domains,
            style,
            index,
        })
    }

    /// Detached prototypes of every image and domain; the texts stand in for those of an image without classes.
    pub fn prototypes(&mut self, batch: &RoundBatch, owned: &[DomainProjector]) -> Result<Vec<Prototype>> {
        let _exact = ExactProducts::enter()?;
        no_grad(|| {
            let projectors = Projectors::of(&projectors_of(owned))?;
            let styled = self.style.forward(&batch.content_norm)?;
            let pixels = pixels_of(&styled, self.domains.len())?;
            let mut found = Vec::with_capacity(self.domains.len() * batch.len());
            for (image, texts) in batch.images.iter().enumerate() {
                let rows = match texts.map.count() {
                    0 => self.region[image].shallow_clone(),
                    _ => prototypes(&pixels[image], &texts.map, &projectors)?,
                };
                for (domain, rows) in self.domains.iter().zip(rows.f_unbind(0)?) {
                    let domain = *domain;
                    found.push(Prototype { domain, image, rows });
                }
            }
            Ok(found)
        })
    }

    /// This group's part [G, …] of what there is of all domains [D, …].
    pub fn part_of(&self, all: &Tensor) -> Result<Tensor> {
        Ok(all.f_index_select(0, &self.index)?)
    }

    /// One optimiser step of styles and projectors.
    pub fn update(&mut self, owned: &[DomainProjector], result: &PassResult) -> Result<()> {
        let mut style = [self.style.mean.shallow_clone(), self.style.std.shallow_clone()];
        let gradient = [
            result.style.mean.shallow_clone(),
            result.style.std.shallow_clone(),
        ];
        self.style_sgd.step(&mut style, &gradient)?;
        let gradients: Vec<Tensor> = result
            .projectors
            .iter()
            .flatten()
            .map(Tensor::shallow_clone)
            .collect();
        if gradients.is_empty() {
            return Ok(());
        }
        self.projector_sgd.step(&mut parameters_of(owned), &gradients)
    }

    /// Copies of the styles as they are now.
    pub fn styles(&self) -> Result<Vec<DomainStyle>> {
        let count = self.domains.len() as i64;
        let (means, stds) = (
            self.style.mean.f_chunk(count, 0)?,
            self.style.std.f_chunk(count, 0)?,
        );
        let pairs = means.iter().zip(&stds).zip(&self.domains);
        Ok(pairs
            .map(|((mean, std), domain)| DomainStyle {
                domain: *domain,
                mean: mean.copy(),
                std: std.copy(),
            })
            .collect())
    }
}

/// Each image of a feature [G·B, C, h, w] as [G, C, h·w].
pub(super) fn pixels_of(feature: &Tensor, domains: usize) -> Result<Vec<Tensor>> {
    let (count, channels, height, width) = feature.size4()?;
    let domains = domains as i64;
    let by_domain = feature.f_reshape([domains, count / domains, channels, height * width])?;
    Ok(by_domain.f_unbind(1)?)
}

pub(super) fn projectors_of(owned: &[DomainProjector]) -> Vec<&Projector> {
    owned.iter().map(|owned| &owned.projector).collect()
}

pub(super) fn parameters_of(owned: &[DomainProjector]) -> Vec<Tensor> {
    owned
        .iter()
        .flat_map(|owned| owned.projector.parameters())
        .collect()
}

fn start_style(batch: &RoundBatch, domains: &[usize], start: &Start<'_>, first: usize) -> Result<Style> {
    let mut means = Vec::with_capacity(domains.len());
    let mut stds = Vec::with_capacity(domains.len());
    for (at, domain) in domains.iter().enumerate() {
        let (mean, std) = match start {
            Start::Content => (&batch.content.mean, &batch.content.std),
            Start::Given(styles) => {
                let style = styles.get(first + at).ok_or_else(|| MethodError::State {
                    name: format!("start style of domain {domain}"),
                    problem: "missing".into(),
                })?;
                expect_shape("start style", &style.mean, &batch.content.mean.size())?;
                expect_shape("start style", &style.std, &batch.content.std.size())?;
                (&style.mean, &style.std)
            }
        };
        means.push(mean);
        stds.push(std);
    }
    Style::from_values(&Tensor::f_cat(&means, 0)?, &Tensor::f_cat(&stds, 0)?)
}
