//! Which samples make up which batch: epochs are permutations, batches are consecutive pieces of the
//! endless row of epochs. No sample is skipped or repeated within an epoch, also where a batch
//! straddles two.

use super::stream::{Purpose, RandomStream, StreamKey};
use crate::stage::Stage;

/// A sample of a data set in one of its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct SampleAt {
    pub epoch: u64,
    /// Index into the data set.
    pub index: usize,
}

/// The batches of one stage.
#[derive(Clone, Debug)]
pub struct Batches {
    seed: u64,
    stage: Stage,
    samples: usize,
    batch: usize,
    cached: Option<(u64, Vec<usize>)>,
}

impl Batches {
    /// # Panics
    /// If the data set is empty.
    #[must_use]
    pub fn new(seed: u64, stage: Stage, samples: usize, batch: u32) -> Self {
        assert!(samples > 0, "a stage trains on at least one sample");
        Self {
            seed,
            stage,
            samples,
            batch: batch as usize,
            cached: None,
        }
    }

    /// Batch number `number` of the stage, in order.
    pub fn batch(&mut self, number: u64) -> Vec<SampleAt> {
        let first = number * self.batch as u64;
        (first..first + self.batch as u64)
            .map(|position| self.at(position))
            .collect()
    }

    fn at(&mut self, position: u64) -> SampleAt {
        let epoch = position / self.samples as u64;
        let within = (position % self.samples as u64) as usize;
        if self.cached.as_ref().is_none_or(|(cached, _)| *cached != epoch) {
            self.cached = Some((epoch, self.order(epoch)));
        }
        let (_, order) = self.cached.as_ref().expect("just filled");
        SampleAt {
            epoch,
            index: order[within],
        }
    }

    fn order(&self, epoch: u64) -> Vec<usize> {
        let mut stream = RandomStream::new(StreamKey {
            seed: self.seed,
            purpose: Purpose::EpochOrder,
            stage: self.stage,
            major: epoch,
            minor: 0,
        });
        let mut order: Vec<usize> = (0..self.samples).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, stream.below(last as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_epoch_holds_every_sample_once(seed: u64, samples in 1usize..50, batch in 1u32..9) {
            let mut batches = Batches::new(seed, Stage::Adapt, samples, batch);
            let steps = (3 * samples as u64).div_ceil(u64::from(batch));
            let mut seen: Vec<SampleAt> = (0..steps).flat_map(|step| batches.batch(step)).collect();
            seen.truncate(3 * samples);
            seen.sort();
            let expected: Vec<SampleAt> = (0..3)
                .flat_map(|epoch| (0..samples).map(move |index| SampleAt { epoch, index }))
                .collect();
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn a_batch_does_not_depend_on_the_batches_asked_for_before(seed: u64, step in 0u64..40) {
            let mut all = Batches::new(seed, Stage::Pretrain, 13, 4);
            let in_order: Vec<_> = (0..=step).map(|number| all.batch(number)).collect();
            let alone = Batches::new(seed, Stage::Pretrain, 13, 4).batch(step);
            prop_assert_eq!(in_order.last().unwrap(), &alone);
        }
    }
}
