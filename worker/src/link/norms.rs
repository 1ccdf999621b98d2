//! BatchNorm's exchange over the shards of a step.

use ulda_collective::{Collective, ShardGroup};
use ulda_torch::{Pass, ShardSync};

use super::{At, Link, Op};

/// Gathers batch statistics among the first `active` shards.
pub struct NormSync {
    link: Link,
    at: At,
    group: ShardGroup,
}

impl NormSync {
    #[must_use]
    pub fn new(link: &Link, at: At, active: u32) -> Self {
        Self {
            link: link.clone(),
            at,
            group: ShardGroup::of(0..active),
        }
    }
}

impl ShardSync for NormSync {
    fn shards(&self) -> usize {
        self.group.contributors().len()
    }

    fn gather(&self, layer: u32, pass: Pass, mine: &[f64]) -> Result<Vec<f64>, String> {
        let op = match pass {
            Pass::Forward => Op::NormForward,
            Pass::Backward => Op::NormBackward,
        };
        let bytes: Vec<u8> = mine.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tag = self.link.tag(self.at, op, layer);
        let all = self
            .link
            .rank
            .all_gather(tag, &self.group, &bytes)
            .map_err(|error| error.to_string())?;
        let numbers = all.iter().flat_map(|bytes| bytes.chunks_exact(8));
        Ok(numbers
            .map(|bytes| f64::from_le_bytes(bytes.try_into().expect("chunks of 8")))
            .collect())
    }
}
