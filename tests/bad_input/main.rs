//! Bad input gets a sentence: which file or field, what is wrong, what to do; nothing is half-made or lost.
//!
//! Each row breaks a fresh world in one way, runs one command line there, and says how that must end.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

mod arrangements;
mod breaking;
mod case;
mod checkpoints;
mod classes;
mod configuration;
mod credentials;
mod data;
mod given;
mod machine;
mod midway;
mod ranges;
mod runs;
mod styles;
mod values;
mod works;
