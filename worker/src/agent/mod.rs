//! The worker's side of the control plane: joins the run, attends to the coordinator, reports.
//!
//! One async task owns the connection; the trainer talks to it through channels and never waits for
//! an RPC. Orders come out of one channel in the order the coordinator gave them, facts go into another.

mod connect;
mod error;
mod facts;
mod introduction;
mod lines;
mod orders;
mod rejoin;
mod reports;
mod session;

pub use error::AgentError;
pub use facts::Fact;
pub use introduction::Introduction;
pub use orders::{Form, Order};
pub use session::{Agent, Joined, Reporter};
