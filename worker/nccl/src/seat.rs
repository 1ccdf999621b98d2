//! Which rank a communicator is, and how long it waits.

use std::fmt;
use std::time::Duration;

/// One rank among those of a communicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RankSeat {
    /// This rank, counted from 0.
    pub rank: u32,
    /// How many there are.
    pub ranks: u32,
}

impl fmt::Display for RankSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.ranks)
    }
}

/// How long each kind of wait may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NcclDeadlines {
    /// Forming a communicator, from its call to the last rank's arrival.
    pub form: Duration,
    /// One operation, from when its turn comes. It includes what its stream waits for: the work before the
    /// ready mark, the operations before this one, and the peers.
    pub operation: Duration,
    /// An abort, from its call to its return.
    pub abort: Duration,
}

impl Default for NcclDeadlines {
    /// A minute to form, two for an operation, ten seconds to abort.
    fn default() -> Self {
        NcclDeadlines {
            form: Duration::from_secs(60),
            operation: Duration::from_secs(120),
            abort: Duration::from_secs(10),
        }
    }
}
