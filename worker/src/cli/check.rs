//! `worker check`: what only libtorch can tell about a run's inputs.

use std::path::PathBuf;
use std::process::ExitCode;
use ulda_run::Exit;

use clap::Args;

use crate::inspect::{InspectionFinding, inspect};

#[derive(Args)]
pub struct Check {
    /// Resolved run.toml
    #[arg(long)]
    spec: PathBuf,
}

impl Check {
    pub fn run(self) -> ExitCode {
        let findings = inspect(&self.spec);
        for InspectionFinding {
            key,
            what,
            hint,
            is_temporary,
        } in &findings
        {
            println!(
                "{}",
                serde_json::json!({ "key": key, "what": what, "hint": hint, "is_temporary": is_temporary })
            );
        }
        if findings.is_empty() {
            ExitCode::SUCCESS
        } else if findings.iter().all(|finding| finding.is_temporary) {
            ExitCode::from(Exit::Unavailable)
        } else {
            ExitCode::from(Exit::BadInput)
        }
    }
}
