//! The time that the state machine sees.

use std::time::Duration;

use tokio::time::Instant;
use ulda_machine::Tick;

/// The machine's clock: milliseconds since this coordinator took up the run.
pub(super) struct RunClock {
    origin: Instant,
}

impl RunClock {
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    pub fn now(&self) -> Tick {
        Tick(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// When the machine wants to be woken, bounded to a day ahead for the timer's sake. One millisecond is
    /// added because ticks are rounded down.
    pub fn instant(&self, tick: Tick) -> Instant {
        let wait = tick.since(self.now()).min(Duration::from_secs(86_400));
        Instant::now() + wait + Duration::from_millis(1)
    }
}
