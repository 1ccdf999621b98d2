//! Operations and memory, through `worker estimate`: only it can read the shapes of checkpoints.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ulda_run::StageCost;
use ulda_run::spec::RunSpec;

use crate::check::spec_file;

const DEADLINE: Duration = Duration::from_secs(300);

/// The cost of each stage.
///
/// # Errors
/// A sentence, where the worker gives none.
pub async fn stage_costs(spec: &RunSpec, binary: &Path) -> Result<Vec<StageCost>, String> {
    let named = |what: String| format!("`{} estimate` {what}", binary.display());
    let file = spec_file(spec).map_err(|cause| format!("write a temporary file: {cause}"))?;
    let output = tokio::process::Command::new(binary)
        .arg("estimate")
        .arg("--spec")
        .arg(file.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE, output)
        .await
        .map_err(|_| named(format!("did not end within {} s", DEADLINE.as_secs())))?
        .map_err(|cause| named(format!("cannot be started: {cause}")))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().rev().find(|line| !line.trim().is_empty());
        let last = last.unwrap_or("no output").trim().trim_start_matches("error: ");
        return Err(named(format!("failed: {last}")));
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    let costs = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>();
    costs.map_err(|cause| named(format!("said what is no cost: {cause}")))
}
