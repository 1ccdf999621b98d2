//! Scores of finished runs side by side: the seeds of one method make one row, and methods are compared over the seeds
//! that they have in common. Reads run directories; writes nothing.
//!
//! [`ComparedRun`] reads one run, [`Comparison`] holds all numbers, [`text`], [`csv`] and [`html`] show them.

mod comparison;
mod csv;
mod error;
mod html;
mod methods;
mod run;
mod sets;
mod statistics;
mod text;
mod warnings;

pub use comparison::{CompareChoices, Comparison, MethodDifferences, MethodScores, SeedScores};
pub use csv::csv;
pub use error::CompareError;
pub use html::html;
pub use methods::{ComparedMethod, NamedRuns, methods};
pub use run::{ComparedRun, ScoredModel};
pub use statistics::Estimate;
pub use text::{SeedRows, text};
