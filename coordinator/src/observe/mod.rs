//! What a person or a log collector sees of a run. Knows the run's news; the run knows nothing of this.
//!
//! [`Bars`] for a terminal, [`Lines`] for everything else. Metrics and a status page belong beside them.

mod bars;
mod lines;
mod log;
mod progress;
mod score_table;

pub use bars::Bars;
pub use lines::Lines;
pub use log::{LogFormat, LogTarget, start_logging};
pub use progress::{Progress, duration_text};
pub use score_table::score_table;
