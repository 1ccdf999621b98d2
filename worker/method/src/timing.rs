//! Host time per phase of a step.

use std::time::{Duration, Instant};

/// Host time spent per phase. CUDA runs behind the host, so there the kernels' time shows where a number is first
/// waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Phases {
    /// Waiting for images and labels; the caller's, who loads them.
    pub data: Duration,
    pub forward: Duration,
    pub backward: Duration,
    pub reduce: Duration,
    pub optimise: Duration,
}

impl Phases {
    /// Adds the phases of another stretch of work.
    pub fn add(&mut self, other: &Phases) {
        self.data += other.data;
        self.forward += other.forward;
        self.backward += other.backward;
        self.reduce += other.reduce;
        self.optimise += other.optimise;
    }
}

/// Runs `work` and adds the time it took to `total`.
pub(crate) fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}
