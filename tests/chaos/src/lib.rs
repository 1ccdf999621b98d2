//! Faults on real processes: seeded sequences of kills, pauses, broken connections and full disks, and the
//! check that every run ends by itself with the bits of an undisturbed one.
//!
//! `world` makes data and the undisturbed digest, `sequence` draws faults from a seed, `life` inflicts them
//! on one run, `recovery` reads from the journal how long each was felt. Invariant: no process that a life
//! started is left when it ends; what is meant to outlive its coordinator is adopted by this process.

pub mod desk;
pub mod disk;
pub mod error;
pub mod fault;
pub mod journal;
pub mod life;
pub mod luck;
pub mod offspring;
pub mod patience;
pub mod proxy;
pub mod recovery;
pub mod report;
pub mod sequence;
pub mod shim;
pub mod world;

pub use error::ChaosError;
