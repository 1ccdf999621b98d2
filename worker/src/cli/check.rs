//! `worker check`: what only libtorch can tell about a run's inputs.

use std::path::PathBuf;
use std::process::ExitCode;
use ulda_run::{Exit, HostAdvice};

use clap::Args;

use crate::inspect::{Inspection, inspect};

#[derive(Args)]
pub struct Check {
    /// Resolved run.toml
    #[arg(long)]
    spec: PathBuf,
    /// Workers that will share this host and its GPUs
    #[arg(long, default_value_t = 1)]
    workers: u32,
}

impl Check {
    pub fn run(self, cuda: bool) -> ExitCode {
        let Inspection {
            findings,
            domains_at_once,
        } = inspect(&self.spec, cuda, self.workers);
        if let Some(domains_at_once) = domains_at_once {
            println!("{}", serde_json::json!(HostAdvice { domains_at_once }));
        }
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
