//! Stage 1: learning the styles of every domain for a batch of source images. METHOD "Stage 1", golden README items
//! 11 to 25.
//!
//! A [`Round`] is one batch of one data shard with all its inner iterations, for the domains that this worker holds.
//! Invariant: the numbers of a domain depend on the batch, its own parameters and the gathered prototypes, never on
//! which other domains are computed beside it; so any split of the domains over workers gives the same bits.

mod batch;
mod exchange;
mod pass;
mod report;
mod round;
mod settings;

pub use batch::RoundBatch;
pub use exchange::{Alone, Local, ProjectorReduce, Prototype, PrototypeExchange};
pub use report::{DomainGradient, DomainLosses, DomainReport, IterationReport, LossTerms};
pub use round::{DomainProjector, DomainStyle, Hooks, Networks, Round, Segmenter, Start};
pub use settings::{LossWeights, SimulateSettings};
