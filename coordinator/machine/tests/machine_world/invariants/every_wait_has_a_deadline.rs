//! As long as the run is not over there is a time at which the machine wants to be woken, and waking it
//! then is not in vain.

use ulda_machine::MachineEvent;

use super::{Promise, Seen};

pub struct Timed;

impl Promise for Timed {
    fn see(&mut self, seen: &Seen<'_>) {
        let Seen::Fed { now, event, machine } = seen else {
            return;
        };
        if machine.phase().is_over() {
            return;
        }
        let next = machine.poll_timeout();
        assert!(next.is_some(), "waits without a deadline: {}", machine.verdict());
        if **event == MachineEvent::Woke {
            assert!(
                next.is_some_and(|(at, _)| at > *now),
                "woken at {now} in vain: {next:?}, {}",
                machine.verdict()
            );
        }
    }
}
