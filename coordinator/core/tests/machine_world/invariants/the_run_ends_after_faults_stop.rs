//! Every run ends (the world panics where one hangs), and with enough restarts it ends well.

use ulda_core::machine::Outcome;

use super::{Promise, Seen};
use crate::machine_world::truth::Truth;

pub struct Ends {
    pub restarts: u32,
}

impl Promise for Ends {
    fn see(&mut self, _seen: &Seen<'_>) {}

    fn ended(&mut self, outcome: &Outcome, _truth: &Truth) {
        let excused = self.restarts < 100;
        match outcome {
            Outcome::Finished { .. } => {}
            Outcome::Failed { cause, .. } => {
                assert!(excused, "failed: {outcome:?}");
                assert!(
                    !cause.text.is_empty() && cause.slot.is_some(),
                    "fails without a cause: {outcome:?}"
                );
            }
            Outcome::Stopped => panic!("nobody asked for a stop"),
        }
    }
}
