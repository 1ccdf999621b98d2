//! How simulate is spread: data shards × prompt groups. A lane is one of the products; lane numbers
//! are shard numbers, and shards past the last lane only receive results.

use std::ops::Range;

use super::split::slice;

/// The part of a round that one shard computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    pub data_shard: u32,
    pub prompt_group: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    pub data_shards: u32,
    pub prompt_groups: u32,
    pub domains: u32,
}

impl Lanes {
    #[must_use]
    pub fn count(&self) -> u32 {
        self.data_shards * self.prompt_groups
    }

    /// The lane of a shard, or `None` if the shard only receives.
    #[must_use]
    pub fn of_shard(&self, shard: u32) -> Option<Lane> {
        (shard < self.count()).then(|| Lane {
            data_shard: shard / self.prompt_groups,
            prompt_group: shard % self.prompt_groups,
        })
    }

    /// Domains that a prompt group works on.
    #[must_use]
    pub fn domains_of(&self, prompt_group: u32) -> Range<usize> {
        slice(
            self.domains as usize,
            self.prompt_groups as usize,
            prompt_group as usize,
        )
    }

    /// Shards that work on the same batch, in order.
    #[must_use]
    pub fn same_batch(&self, lane: Lane) -> Range<u32> {
        let first = lane.data_shard * self.prompt_groups;
        first..first + self.prompt_groups
    }

    /// Shards that train the same projectors on other batches, in order.
    #[must_use]
    pub fn same_domains(&self, lane: Lane) -> Vec<u32> {
        (0..self.data_shards)
            .map(|data_shard| data_shard * self.prompt_groups + lane.prompt_group)
            .collect()
    }

    /// Number, within the stage, of the batch that a data shard works on in a round.
    #[must_use]
    pub fn batch_number(&self, round: u64, data_shard: u32) -> u64 {
        round * u64::from(self.data_shards) + u64::from(data_shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_cover_batches_times_domains_once() {
        let lanes = Lanes {
            data_shards: 3,
            prompt_groups: 2,
            domains: 5,
        };
        let mut covered: Vec<(u64, usize)> = (0..7)
            .filter_map(|shard| lanes.of_shard(shard))
            .flat_map(|lane| {
                lanes
                    .domains_of(lane.prompt_group)
                    .map(move |domain| (lanes.batch_number(4, lane.data_shard), domain))
            })
            .collect();
        covered.sort_unstable();
        let expected: Vec<(u64, usize)> = (12..15)
            .flat_map(|batch| (0..5).map(move |domain| (batch, domain)))
            .collect();
        assert_eq!(covered, expected);
        assert_eq!(lanes.of_shard(6), None);
        let lane = lanes.of_shard(3).unwrap();
        assert_eq!(
            lane,
            Lane {
                data_shard: 1,
                prompt_group: 1
            }
        );
        assert_eq!(lanes.same_batch(lane), 2..4);
        assert_eq!(lanes.same_domains(lane), [1, 3, 5]);
    }
}
