//! What a person or a log collector sees of a run. Knows the run's news; the run knows nothing of this.
//!
//! [`Bars`] for a terminal, [`LogReporter`] for everything else; [`metrics`] for Prometheus, [`tensorboard`] for
//! TensorBoard, [`Live`] and [`status_page`] for a browser.

mod bars;
mod lines;
mod live;
mod log;
pub mod metrics;
mod progress;
pub mod status_page;
pub mod tensorboard;
mod traces;

pub use bars::Bars;
pub use lines::LogReporter;
pub use live::{Live, LiveRecorder, RankLive};
pub use log::{LogFormat, LogTarget, start_logging};
pub use progress::RunProgress;
pub use traces::Traces;
