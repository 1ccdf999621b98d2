//! The method on tensors, as published: statistics, prompt-driven normalisation, losses, rectifier, optimiser, and
//! the steps of the three training stages.
//!
//! No socket, no thread, no async: other workers are reached through traits that the caller implements. Random numbers come in
//! as seeds. The numbers equal the published implementation's within the tolerances of the golden fixtures, quirks
//! included; each block's header names the section that it follows.

pub mod adapt;
pub mod error;
pub mod linear;
pub mod losses;
pub mod optim;
pub mod pin;
pub mod pretrain;
mod products;
pub mod projector;
pub mod rectifier;
pub mod simulate;
pub mod stats;
pub mod stylebank;
pub mod supervised;
pub mod timing;
pub mod trainable;

pub use error::{MethodError, Result};
pub use timing::Phases;
