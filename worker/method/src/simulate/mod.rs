//! Stage 1: learning the styles of every domain for a batch of source images. METHOD "Stage 1", golden README items
//! 11 to 25.
//!
//! A [`Round`] is one batch of one data shard with all its inner iterations, for the domains that this worker holds, in
//! groups of [`SimulateSettings::domains_at_once`]; a group is computed as one batch.
//!
//! Invariant: the numbers of a domain depend on the batch, its own parameters and the gathered prototypes, not on the
//! domains computed beside it: with groups of one to the last bit, so that any split of the domains over workers
//! gives the same bits, with larger ones within rounding.

mod alignment;
mod batch;
mod exchange;
mod group;
mod pass;
mod report;
mod round;
mod settings;
mod values;

pub use batch::RoundBatch;
pub use exchange::{Alone, Local, ProjectorReduce, Prototype, PrototypeExchange};
pub use report::{DomainGradient, DomainLosses, DomainReport, IterationReport, LossTerms};
pub use round::{DomainProjector, DomainStyle, Hooks, Networks, Round, Segmenter, Start};
pub use settings::{LossWeights, SimulateSettings};
