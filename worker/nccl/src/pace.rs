//! How fast the communicator's thread polls.

use std::hint;
use std::thread;
use std::time::Duration;

/// How many polls in a row are made without a rest.
const SPINS: u32 = 200;

/// How long a rest between polls is.
const REST: Duration = Duration::from_micros(50);

/// Polls fast at first, as most operations are short, then with rests.
#[derive(Default)]
pub(crate) struct Pace {
    polls: u32,
}

impl Pace {
    pub fn reset(&mut self) {
        self.polls = 0;
    }

    pub fn rest(&mut self) {
        if self.polls < SPINS {
            self.polls += 1;
            hint::spin_loop();
        } else {
            thread::sleep(REST);
        }
    }
}
