//! The control plane towards the workers: Join, Attend, Report, Log over gRPC.
//!
//! Callers are looked at before they are heard: certificates by `incoming`, the token by `guard`.
//! Nothing else is decided here. Each call becomes an [`Ask`] to the run's owner task; refusals come back as typed
//! reasons and leave as gRPC status with a sentence.

mod answer;
mod attend;
mod bounds;
mod caller;
mod guard;
mod incoming;
mod late;
mod logs;
#[doc(hidden)]
pub mod probe;
mod refusal;
mod service;
mod wire;

pub use bounds::Measured;
pub use guard::Guard;
pub use late::{bind_again, turn_away};
pub use refusal::Refusal;
pub use service::{CLOSE_DEADLINE, ServeError, WorkerService, bind, serve};
pub use wire::{
    Ask, Attachment, JoiningWorker, Measures, Notice, ReceivedFact, StreamEnd, directive_to_wire,
};

/// What a worker of another build is refused for.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
