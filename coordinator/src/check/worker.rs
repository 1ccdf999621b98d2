//! What the worker finds wrong with checkpoints, through `worker check`: only it can read tensors and ask GPUs.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::NamedTempFile;
use ulda_run::spec::RunSpec;
use ulda_run::{Finding, HostAdvice};

use super::finding::finding;
use ulda_run::Exit;

const DEADLINE: Duration = Duration::from_secs(300);

/// What a check says.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub findings: Vec<Finding>,
    pub advice: Option<HostAdvice>,
}

impl From<Finding> for Said {
    fn from(finding: Finding) -> Self {
        Self {
            findings: vec![finding],
            advice: None,
        }
    }
}

/// Runs `worker check` on the resolved configuration, for so many workers on this host.
pub(super) async fn said(spec: &RunSpec, binary: &Path, workers: u32) -> Said {
    if !binary.is_file() {
        return Said::from(Finding::new(
            "--worker-binary",
            format!("worker binary `{}` does not exist", binary.display()),
            "build it with `make`, or name it with --worker-binary",
        ));
    }
    match spec_file(spec) {
        Ok(file) => run(binary, file.path(), workers).await,
        Err(cause) => {
            let folder = std::env::temp_dir();
            Said::from(Finding {
                what: format!("write a file in `{}`: {cause}", folder.display()),
                ..finding("disk", &cause, None)
            })
        }
    }
}

/// The resolved configuration as a file of a name that nobody else can know, gone when dropped.
pub(crate) fn spec_file(spec: &RunSpec) -> std::io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix("ulda-check-")
        .suffix(".toml")
        .tempfile()?;
    file.write_all(spec.to_toml().as_bytes())?;
    Ok(file)
}

async fn run(binary: &Path, spec: &Path, workers: u32) -> Said {
    let failed = |what: String, hint: &str| {
        Finding::new("worker", format!("`{} check` {what}", binary.display()), hint)
    };
    let output = tokio::process::Command::new(binary)
        .arg("check")
        .arg("--spec")
        .arg(spec)
        .arg("--workers")
        .arg(workers.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(DEADLINE, output).await {
        Ok(Ok(output)) => output,
        Ok(Err(cause)) => {
            return Said::from(Finding {
                what: format!("`{} check` cannot be started: {cause}", binary.display()),
                ..finding("worker", &cause, Some("check --worker-binary".to_owned()))
            });
        }
        Err(_) => {
            return Said::from(failed(
                format!("did not end within {} s", DEADLINE.as_secs()),
                "is the disk with the checkpoints responding?",
            ));
        }
    };
    let lines = String::from_utf8_lossy(&output.stdout);
    let said = Said {
        findings: lines.lines().filter_map(read::<Finding>).collect(),
        advice: lines.lines().find_map(read::<HostAdvice>),
    };
    let as_agreed = match output.status.code() {
        Some(0) => true,
        Some(code) => {
            let expected = [Exit::BadInput, Exit::Unavailable].map(|exit| i32::from(exit.code()));
            expected.contains(&code) && !said.findings.is_empty()
        }
        None => false,
    };
    if as_agreed {
        return said;
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no output")
        .trim();
    let mut all = said;
    let what = format!("ended with {}: {last}", output.status);
    all.findings.push(failed(what, "run it by hand"));
    all
}

fn read<T: serde::de::DeserializeOwned>(line: &str) -> Option<T> {
    serde_json::from_str(line).ok()
}
