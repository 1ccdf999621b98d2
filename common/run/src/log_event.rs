//! Lines of a coordinator's JSON log that programs read: they know them by the field `event`, never by the message.
//!
//! A line whose fields change their meaning gets a new number.

/// How far the run is, every few seconds.
pub const PROGRESS: &str = "progress.v1";

/// The run has ended, and this coordinator stays: the line's other fields are a [`RunEnd`](crate::RunEnd).
pub const RUN_ENDED: &str = "run-ended.v1";
