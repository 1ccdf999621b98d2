//! The thin client: applies, lists, follows, stops and deletes runs of one namespace.
//!
//! Owns all IO of this crate. Every request and every wait has a deadline and a name; streams that close are taken up
//! where they were. Decides nothing about a run.

mod access;
mod apply;
mod connect;
mod error;
mod events;
mod follow;
mod jobs;
mod lines;
mod logs;
mod needs;
mod pods;
mod runs;
mod verbs;
mod watch;

pub use apply::{Applied, ApplyOutcome, Earnest};
pub use connect::Cluster;
pub use error::{Blame, ClusterError};
pub use follow::{Followed, Happening};
pub use lines::{ClusterLogLine, LoggedProgress};
pub use logs::LogOf;
pub use pods::{PodState, PodView, summary};
pub use runs::{ClusterRunState, ProgressView, RunView};
pub use verbs::{Deleted, NewImages, StateVolume};
