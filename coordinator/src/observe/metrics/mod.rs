//! What Prometheus sees of a run, at `/metrics`. Listed for people in `docs/metrics.md`; a test compares the two.
//!
//! [`RunMetrics`] are the typed families in the registry that is passed in; [`MetricsRecorder`] hears the run's
//! news and moves them. Invariants: every name has HELP and a base unit; labels are bounded (rank, stage,
//! term, set, model, the run's classes, reasons that are enums); a reason that has not happened yet stands at 0.

mod families;
mod labels;
mod opening;
mod recorder;
mod samples;
mod scrape;
mod storage;
mod time_account;

pub use families::RunMetrics;
pub use labels::{break_reason_name, break_reason_names};
pub use opening::Past;
pub use recorder::MetricsRecorder;
pub use samples::SamplesPerStep;
pub use scrape::{CONTENT_TYPE, RunExposition, ScrapeError};
pub use time_account::{Cause, TimeAccount};
