//! `worker estimate`: what the stages of a run cost by their shapes.

use std::path::PathBuf;
use std::process::ExitCode;
use ulda_run::Exit;

use clap::Args;

use crate::estimate::estimate;
use crate::exit::{exit_of, with_hint};
use crate::inspect::read_spec;

#[derive(Args)]
pub struct EstimateCosts {
    /// Resolved run.toml
    #[arg(long)]
    spec: PathBuf,
}

impl EstimateCosts {
    pub fn run(self) -> ExitCode {
        let spec = match read_spec(&self.spec) {
            Ok(spec) => spec,
            Err(what) => {
                eprintln!("error: `{}` {what}", self.spec.display());
                return ExitCode::from(Exit::BadInput);
            }
        };
        match estimate(&spec) {
            Ok(costs) => {
                for cost in costs {
                    println!("{}", serde_json::json!(cost));
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("error: {}", with_hint(&error, error.hint()));
                ExitCode::from(exit_of(&error, Exit::BadInput))
            }
        }
    }
}
