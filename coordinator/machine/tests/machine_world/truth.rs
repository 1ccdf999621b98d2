//! What an undisturbed run computes, and the only source of rng.

use ulda_run::stage::{Course, Cursor, Stage, StageLength};
use ulda_run::{Digest, StateClaim};

/// Steps of the first of the two stages.
const PRETRAIN: u64 = 7;

pub struct TruthRng(u64);

impl TruthRng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    pub fn percent(&mut self, chance: u32) -> bool {
        self.between(0, 100) < u64::from(chance)
    }
}

/// Position and digest after each number of steps.
pub struct Truth {
    pub total: u64,
    digests: Vec<Digest>,
}

impl Truth {
    pub fn new(total: u64) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut digests = vec![Digest(format!("{hash:016x}"))];
        for step in 0..total {
            hash = (hash ^ step).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
            digests.push(Digest(format!("{hash:016x}")));
        }
        Self { total, digests }
    }

    pub fn course(&self) -> Course {
        Course::new([
            StageLength {
                stage: Stage::Pretrain,
                steps: PRETRAIN,
            },
            StageLength {
                stage: Stage::Adapt,
                steps: self.total - PRETRAIN,
            },
        ])
    }

    pub fn digest(&self, at: u64) -> Digest {
        self.digests[usize::try_from(at).expect("few steps")].clone()
    }

    /// `late` names the end of a stage, not the beginning of the next one.
    pub fn claim(&self, at: u64, late: bool) -> StateClaim {
        let cursor = if at < PRETRAIN || (at == PRETRAIN && late) {
            Cursor {
                stage: Stage::Pretrain,
                step: at,
            }
        } else {
            Cursor {
                stage: Stage::Adapt,
                step: at - PRETRAIN,
            }
        };
        StateClaim {
            cursor,
            digest: self.digest(at),
        }
    }

    /// Steps applied before `cursor`.
    pub fn steps_before(&self, cursor: Cursor) -> u64 {
        if cursor.stage == Stage::Pretrain {
            cursor.step
        } else {
            PRETRAIN + cursor.step
        }
    }
}
