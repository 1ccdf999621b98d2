//! What a worker tells about itself to whoever scrapes it, at `/metrics`. Listed in `docs/metrics.md`; a test
//! compares the two.
//!
//! [`Meters`] count while shards train, without locks on their way; [`MetricsServer`] answers on a thread of its
//! own, off unless asked for. Read-only: no request changes anything.

mod address;
mod exposition;
mod families;
mod meters;
mod process;
mod server;
mod steps;

pub use address::{MetricsAddress, NotAnAddress};
pub use exposition::{Exposition, Identity};
pub use meters::Meters;
pub use server::{MetricsServer, ServeError};
pub use steps::{StepDone, StepTraces};
