//! What the worker finds wrong with checkpoints, through `worker check`: only it can read tensors.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::NamedTempFile;
use ulda_run::Finding;
use ulda_run::spec::RunSpec;

use super::finding::finding;
use ulda_run::Exit;

const DEADLINE: Duration = Duration::from_secs(300);

/// Runs `worker check` on the resolved configuration.
pub(super) async fn findings(spec: &RunSpec, binary: &Path) -> Vec<Finding> {
    if !binary.is_file() {
        return vec![Finding::new(
            "--worker-binary",
            format!("worker binary `{}` does not exist", binary.display()),
            "build it with `make`, or name it with --worker-binary",
        )];
    }
    match spec_file(spec) {
        Ok(file) => run(binary, file.path()).await,
        Err(cause) => {
            let folder = std::env::temp_dir();
            vec![Finding {
                what: format!("write a file in `{}`: {cause}", folder.display()),
                ..finding("disk", &cause, None)
            }]
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

async fn run(binary: &Path, spec: &Path) -> Vec<Finding> {
    let failed = |what: String, hint: &str| {
        vec![Finding::new(
            "worker",
            format!("`{} check` {what}", binary.display()),
            hint,
        )]
    };
    let output = tokio::process::Command::new(binary)
        .arg("check")
        .arg("--spec")
        .arg(spec)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(DEADLINE, output).await {
        Ok(Ok(output)) => output,
        Ok(Err(cause)) => {
            return vec![Finding {
                what: format!("`{} check` cannot be started: {cause}", binary.display()),
                ..finding("worker", &cause, Some("check --worker-binary".to_owned()))
            }];
        }
        Err(_) => {
            return failed(
                format!("did not end within {} s", DEADLINE.as_secs()),
                "is the disk with the checkpoints responding?",
            );
        }
    };
    let lines = String::from_utf8_lossy(&output.stdout);
    let findings: Vec<Finding> = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let as_agreed = match output.status.code() {
        Some(0) => true,
        Some(code) => {
            let expected = [Exit::BadInput, Exit::Unavailable].map(|exit| i32::from(exit.code()));
            expected.contains(&code) && !findings.is_empty()
        }
        None => false,
    };
    if as_agreed {
        return findings;
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no output")
        .trim();
    let mut all = findings;
    all.extend(failed(
        format!("ended with {}: {last}", output.status),
        "run it by hand",
    ));
    all
}
