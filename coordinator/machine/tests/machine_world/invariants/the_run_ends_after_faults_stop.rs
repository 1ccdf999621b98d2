//! Every run ends, within a stated time after the last fault, and with enough restarts it ends well.

use ulda_machine::RunOutcome;

use super::{Promise, Seen};
use crate::machine_world::truth::Truth;

/// Milliseconds of the world's time from the end of the last fault to the end of the run: time for four gather
/// deadlines of 12 s, or twelve progress deadlines of 5 s in which somebody is stuck.
pub const WITHIN: u64 = 60_000;

pub struct Ends {
    pub restarts: u32,
}

impl Promise for Ends {
    fn see(&mut self, _seen: &Seen<'_>) {}

    fn ended(&mut self, outcome: &RunOutcome, _truth: &Truth, after: u64) {
        let excused = self.restarts < 100;
        match outcome {
            RunOutcome::Finished { .. } => {}
            RunOutcome::Failed { cause, .. } => {
                assert!(excused, "failed: {outcome:?}");
                assert!(
                    !cause.text.is_empty() && cause.slot.is_some(),
                    "fails without a cause: {outcome:?}"
                );
            }
            RunOutcome::Stopped => panic!("nobody asked for a stop"),
        }
        assert!(
            after <= WITHIN,
            "the run took {after} ms more after the last fault"
        );
    }
}
