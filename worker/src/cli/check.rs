//! `worker check`: what only libtorch can tell about a run's inputs.

use std::path::PathBuf;
use std::process::ExitCode;
use ulda_run::Exit;

use clap::Args;

use crate::inspect::inspect;

#[derive(Args)]
pub struct Check {
    /// Resolved run.toml
    #[arg(long)]
    spec: PathBuf,
}

impl Check {
    pub fn run(self) -> ExitCode {
        let findings = inspect(&self.spec);
        for finding in &findings {
            println!("{}", serde_json::json!(finding));
        }
        let mut wrong = findings.iter().filter(|finding| !finding.is_note).peekable();
        if wrong.peek().is_none() {
            ExitCode::SUCCESS
        } else if wrong.all(|finding| finding.is_temporary) {
            ExitCode::from(Exit::Unavailable)
        } else {
            ExitCode::from(Exit::BadInput)
        }
    }
}
