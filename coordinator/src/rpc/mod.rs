//! The control plane towards the workers: Join, Attend, Report, Log over gRPC.
//!
//! Nothing is decided here. Each call becomes an [`Ask`] to the run's owner task; refusals come back as typed
//! reasons and leave as gRPC status with a sentence.

mod attend;
mod logs;
mod refusal;
mod service;
mod wire;

pub use refusal::Refusal;
pub use service::{Door, ServeError, bind, serve};
pub use wire::{Ask, Attachment, Fact, Introduction, Measured, Measures, Notice, Welcome, directive_to_wire};

/// What a worker of another build is refused for.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
