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

pub use address::{MetricsAddress, NotAMetricsAddress};
pub use exposition::{CONTENT_TYPE, WorkerExposition, WorkerIdentity};
pub use meters::Meters;
pub use server::{MetricsServeError, MetricsServer};
pub use steps::{StepDone, StepTraces};
