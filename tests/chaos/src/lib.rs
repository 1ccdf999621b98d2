//! Faults on real processes: seeded sequences of kills, pauses, broken connections and full disks, and the
//! check that every run ends by itself with the bits of an undisturbed one.
//!
//! `world` makes data and the undisturbed digest, `sequence` draws faults and the site from a seed, `deployment`
//! is the site that stands (`desk` and `proxy` in the wires, or `nodes` on a `network`), `life` leads one run
//! through its faults, which `inflict` knows how to do, `recovery` reads from the journal how long each was
//! felt. Invariant: no process, mount or network that a life made is left when it ends; what is meant to outlive
//! its coordinator is adopted by this process.

pub mod damage;
pub mod deployment;
pub mod desk;
pub mod disk;
pub mod error;
pub mod fault;
mod inflict;
pub mod journal;
pub mod life;
pub mod network;
pub mod nodes;
pub mod offspring;
pub mod patience;
pub mod proxy;
pub mod recovery;
pub mod report;
pub mod rng;
pub mod sequence;
pub mod shim;
pub mod site;
pub mod world;

pub use error::ChaosError;
