//! What a round has learned, carried from every lane to every shard. Each shard then holds all projectors and styles.

use std::collections::{BTreeMap, HashMap};

use tch::{Device, Tensor};
use ulda_collective::ShardGroup;
use ulda_method::projector::{PARAMETER_NAMES, Projector};
use ulda_method::stylebank::BankStyle;
use ulda_run::ids::Shard;
use ulda_run::style_health::StyleHealth;
use ulda_torch::upload;

use super::bank::empty_bank;
use super::health::{RoundStyles, side_by_side};
use super::losses::{LOSSES_KEY, RoundLosses};
use super::round::{CONTENT_MEAN, CONTENT_STD, Learned};
use super::{Simulate, image_names};
use crate::link::{At, Op};
use crate::stages::StageError;
use crate::state::{StateError, read_tensors, write_tensors};

/// Loss pieces of each lane, and the health of each domain's styles.
type Taken = (Vec<RoundLosses>, Vec<(String, StyleHealth)>);

impl Simulate<'_> {
    /// Every lane's styles and projectors, on every shard.
    pub(super) fn share(&self, at: At, learned: Option<&Learned>) -> Result<Vec<Vec<u8>>, StageError> {
        let link = &self.context.link;
        let group = ShardGroup::reduce_to((0..self.lanes.count()).map(Shard), (0..link.shards()).map(Shard));
        let message = match learned {
            None => Vec::new(),
            Some(learned) => {
                let losses = serde_json::to_string(&learned.losses).expect("losses are plain numbers");
                write_tensors(&learned.tensors, HashMap::from([(LOSSES_KEY.to_owned(), losses)]))?
            }
        };
        Ok(link.gather(at, Op::RoundResult, &group, &message)?)
    }

    /// Takes in a round's results, all or nothing; health of the styles on the shard that leads.
    pub(super) fn take(&mut self, step: u64, messages: &[Vec<u8>]) -> Result<Taken, StageError> {
        let mut round = empty_bank(self.context);
        let mut projector_values: BTreeMap<String, Tensor> = BTreeMap::new();
        let mut losses = Vec::new();
        let mut styles: Vec<RoundStyles> = Vec::new();
        styles.resize_with(self.projectors.len(), RoundStyles::default);
        for (shard, message) in messages.iter().enumerate() {
            let Some(lane) = self.lanes.of_shard(shard as u32) else {
                continue;
            };
            let mut tensors = read_tensors(message)?;
            let names = image_names(self.context, &mut self.batches, &self.lanes, step, lane);
            let of_lane = RoundLosses::read(message)?;
            let mut take = |name: String| tensors.remove(&name).ok_or(StateError::Missing(name));
            let content = side_by_side(&take(CONTENT_MEAN.to_owned())?, &take(CONTENT_STD.to_owned())?)?;
            for domain in self.lanes.domains_of(lane.prompt_group) {
                let (mean, std) = (
                    take(format!("style.{domain}.mean"))?,
                    take(format!("style.{domain}.std"))?,
                );
                if self.context.leads() {
                    let scene = of_lane.domains.iter().filter(|losses| losses.domain == domain);
                    styles[domain].learned.push(side_by_side(&mean, &std)?);
                    styles[domain].content.push(content.shallow_clone());
                    styles[domain].scene.extend(scene.map(|losses| losses.scene));
                }
                for (row, name) in names.iter().enumerate() {
                    round.insert(
                        name,
                        domain,
                        BankStyle {
                            mean: row_of(&mean, row)?,
                            std: row_of(&std, row)?,
                        },
                    )?;
                }
            }
            projector_values.extend(tensors);
            losses.push(of_lane);
        }
        let mut projectors = Vec::with_capacity(self.projectors.len());
        for domain in 0..self.projectors.len() {
            projectors.push(projector_from(
                &projector_values,
                domain,
                self.context.resources.device,
            )?);
        }
        let mut health = Vec::new();
        let named = self.context.spec.config().domains.iter();
        for ((domain, styles), reference) in named.zip(&styles).zip(&self.references) {
            health.push((domain.name.to_string(), styles.health(reference.as_ref())?));
        }
        self.styles.add(step, &round)?;
        self.projectors = projectors;
        Ok((losses, health))
    }
}

pub(super) fn projector_from(
    values: &BTreeMap<String, Tensor>,
    domain: usize,
    device: Device,
) -> Result<Projector, StageError> {
    let named = PARAMETER_NAMES.iter().map(|name| {
        let name = format!("projector.{domain}.{name}");
        let value = values.get(&name).ok_or(StateError::Missing(name))?;
        Ok(upload(value, device)?)
    });
    Ok(Projector::from_values(
        &named.collect::<Result<Vec<_>, StageError>>()?,
    )?)
}

fn row_of(tensor: &Tensor, row: usize) -> Result<Vec<f32>, StageError> {
    let row = tensor.f_get(row as i64)?.f_flatten(0, -1)?.f_contiguous()?;
    let mut values = vec![0f32; row.numel()];
    row.f_copy_data(&mut values, row.numel())?;
    Ok(values)
}
