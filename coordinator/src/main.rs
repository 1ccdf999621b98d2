//! The `coordinator` program: everything is in the library beside it.

use std::process::ExitCode;

use clap::Parser;
use ulda_coordinator::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(stop) => {
            cli::say(format_args!("error: {stop}"));
            stop.exit.into()
        }
    }
}
