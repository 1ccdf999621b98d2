//! Projector gradients, averaged over the data shards that train the same domains.

use tch::Tensor;
use ulda_collective::{Collective, ShardGroup};
use ulda_method::simulate::ProjectorReduce;
use ulda_method::{MethodError, Result};
use ulda_run::ids::Shard;
use ulda_run::plan::{Lane, Lanes};
use ulda_torch::upload;

use super::{At, Link, Op};

pub struct LaneReduce {
    link: Link,
    at: At,
    group: ShardGroup,
}

impl LaneReduce {
    #[must_use]
    pub fn new(link: &Link, at: At, lanes: &Lanes, lane: Lane) -> Self {
        let same: Vec<Shard> = lanes.same_domains(lane).into_iter().map(Shard).collect();
        Self {
            link: link.clone(),
            at,
            group: ShardGroup::reduce_to(same.clone(), same),
        }
    }
}

impl ProjectorReduce for LaneReduce {
    fn reduce(&self, iteration: usize, gradients: &mut [(usize, Tensor)]) -> Result<()> {
        let data_shards = self.group.contributors().len();
        if data_shards == 1 {
            return Ok(());
        }
        let at = At {
            iteration: iteration as u32,
            ..self.at
        };
        for (domain, gradient) in gradients {
            let length = gradient.numel();
            let mut values = vec![0f32; length];
            gradient.f_copy_data(&mut values, length)?;
            let tag = self.link.tag(at, Op::ProjectorGradient, *domain as u32);
            self.link
                .rank
                .all_reduce(tag, &self.group, &mut values)
                .map_err(|error| MethodError::Exchange {
                    what: "reduce projector gradients",
                    reason: error.to_string(),
                })?;
            let mean = Tensor::f_from_slice(&values)?.f_div_scalar(data_shards as f64)?;
            *gradient = upload(&mean, gradient.device())?;
        }
        Ok(())
    }
}
