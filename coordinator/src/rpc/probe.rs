//! Each message of a worker, parsed as the service parses it and dropped: for bytes that no worker sends.

use ulda_proto::v1;
use ulda_run::ids::Slot;
use ulda_run::spec::RunSpec;

use super::bounds::{self, Bounds};
use super::refusal::Refusal;
use super::wire::{Notice, ReceivedFact};
use crate::logs::LogBatch;

/// # Errors
/// A field is out of its bounds.
pub fn attendance(message: v1::Attendance, spec: &RunSpec) -> Result<(), Refusal> {
    bounds::generation(message.generation)?;
    match message.fact {
        Some(fact) => ReceivedFact::from_wire(fact, &Bounds::of(spec)).map(drop),
        None => Ok(()),
    }
}

/// # Errors
/// A field is out of its bounds.
pub fn report(message: v1::ReportRequest, spec: &RunSpec) -> Result<(), Refusal> {
    bounds::generation(message.generation)?;
    match message.fact {
        Some(fact) => Notice::from_wire(fact, &Bounds::of(spec)).map(drop),
        None => Ok(()),
    }
}

/// # Errors
/// A field is out of its bounds.
pub fn log(message: v1::LogRequest) -> Result<(), Refusal> {
    LogBatch::from_wire(Slot(0), message).map(drop)
}
