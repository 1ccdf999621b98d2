//! A library that behaves as NCCL does towards its caller, among the threads of one process, on host memory;
//! the tests load it in NCCL's place.
//!
//! A stream is a number, given as a pointer: work on it is done in order, an operation when all ranks' have
//! come to the front of theirs. As with NCCL, the kernels of an operation that is "in progress" are put on
//! the stream only later, and an error or an abort sets a stream free as a success does, with garbage in the
//! results. Functions named `sim_…` are the tests' own: streams, events, scripts, and what the caller did.
//!
//! All state is under one lock; a caller that breaks a rule of NCCL's is noted as a violation.

mod call;
mod nccl;
mod script;
mod simulation;
