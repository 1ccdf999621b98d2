//! Who takes part in an operation.

use std::ops::Range;

use ulda_run::ids::Shard;

/// The shards that give and the shards that get in one operation.
///
/// Both lists are ascending and free of repetitions. Every shard in either list calls the operation, with
/// an equal group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShardGroup {
    contributors: Vec<Shard>,
    receivers: Vec<Shard>,
}

impl ShardGroup {
    /// All `shards` of the run give and get.
    pub fn all(shards: u32) -> ShardGroup {
        ShardGroup::of(0..shards)
    }

    /// The shards of `range` give and get.
    pub fn of(range: Range<u32>) -> ShardGroup {
        let members: Vec<Shard> = range.map(Shard).collect();
        ShardGroup {
            contributors: members.clone(),
            receivers: members,
        }
    }

    /// `contributors` give, `receivers` get; order and repetitions do not matter.
    pub fn reduce_to(
        contributors: impl IntoIterator<Item = Shard>,
        receivers: impl IntoIterator<Item = Shard>,
    ) -> ShardGroup {
        ShardGroup {
            contributors: ascending(contributors),
            receivers: ascending(receivers),
        }
    }

    /// Who gives, ascending.
    pub fn contributors(&self) -> &[Shard] {
        &self.contributors
    }

    /// Who gets, ascending.
    pub fn receivers(&self) -> &[Shard] {
        &self.receivers
    }

    /// Whether `shard` gives or gets.
    pub fn contains(&self, shard: Shard) -> bool {
        self.gives(shard) || self.gets(shard)
    }

    pub(crate) fn gives(&self, shard: Shard) -> bool {
        self.contributors.binary_search(&shard).is_ok()
    }

    pub(crate) fn gets(&self, shard: Shard) -> bool {
        self.receivers.binary_search(&shard).is_ok()
    }

    /// Everyone who calls, ascending.
    pub(crate) fn members(&self) -> Vec<Shard> {
        ascending(self.contributors.iter().chain(&self.receivers).copied())
    }

    /// A number that differs between groups, to notice callers that disagree.
    pub(crate) fn fingerprint(&self) -> u32 {
        let separator = std::iter::once(u32::MAX);
        let numbers = self.contributors.iter().map(|shard| shard.0);
        let numbers = numbers
            .chain(separator)
            .chain(self.receivers.iter().map(|shard| shard.0));
        numbers
            .flat_map(u32::to_le_bytes)
            .fold(0x811c_9dc5, |hash, byte| {
                (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
            })
    }
}

fn ascending(shards: impl IntoIterator<Item = Shard>) -> Vec<Shard> {
    let mut shards: Vec<Shard> = shards.into_iter().collect();
    shards.sort_unstable();
    shards.dedup();
    shards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_ascending_and_told_apart() {
        let group = ShardGroup::reduce_to([Shard(3), Shard(1), Shard(3)], [Shard(2)]);
        assert_eq!(group.contributors(), [Shard(1), Shard(3)]);
        assert_eq!(group.members(), [Shard(1), Shard(2), Shard(3)]);
        assert!(group.contains(Shard(2)) && !group.contains(Shard(0)));
        let turned = ShardGroup::reduce_to([Shard(2)], [Shard(1), Shard(3)]);
        assert_ne!(group.fingerprint(), turned.fingerprint());
        assert_eq!(
            ShardGroup::all(4).fingerprint(),
            ShardGroup::of(0..4).fingerprint()
        );
    }
}
