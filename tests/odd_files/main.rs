//! Whatever a path leads to, a program that opens it says so in a sentence that names it, with a documented exit code,
//! within a minute and within 2 GiB.
//!
//! The rows of the gate are those that hang a reader or fill its memory; `make odd-files` tries all kinds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test whose bench cannot be set up has failed"
)]

mod inputs;
mod odd;
mod place;
mod results;

use odd::Odd;
use place::hold;

#[test]
fn inputs_that_hang_a_reader_or_fill_its_memory() {
    let rows = hold(inputs::PLACES, &Odd::IN_THE_GATE, inputs::world);
    assert!(rows > 60, "{rows}");
}

#[test]
fn results_that_hang_a_reader_or_fill_its_memory() {
    let rows = hold(results::PLACES, &Odd::IN_THE_GATE, results::world);
    assert!(rows > 60, "{rows}");
}

#[test]
#[ignore = "minutes: `make odd-files`"]
fn all_other_inputs() {
    println!("{} rows", hold(inputs::PLACES, &Odd::OTHERS, inputs::world));
}

#[test]
#[ignore = "minutes: `make odd-files`"]
fn all_other_results() {
    println!("{} rows", hold(results::PLACES, &Odd::OTHERS, results::world));
}
