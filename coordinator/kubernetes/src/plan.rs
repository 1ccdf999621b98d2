//! What will be created and with what, for a person to look at before.

use crate::manifest::ObjectManifest;
use crate::submission::{RunStorage, Submission};

/// Rows of name and value.
#[must_use]
pub fn plan(submission: &Submission, manifests: &[ObjectManifest]) -> Vec<[String; 2]> {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let Submission { run, image, .. } = submission;
    let workers = &submission.worker;
    let gpu = submission
        .gpu
        .as_ref()
        .map_or_else(String::new, |gpu| match &gpu.node {
            Some((_, value)) => format!(", 1 {} on {value}", gpu.resource),
            None => format!(", 1 {}", gpu.resource),
        });
    let pods = submission.worker_pods();
    let plural = if pods == 1 { "" } else { "s" };
    let shared = match submission.workers_per_pod {
        1 => "each".to_owned(),
        count => format!("{count} workers in each, and each worker"),
    };
    let ephemeral_storage = submission.settings.workers.ephemeral_storage.as_ref();
    let disk = ephemeral_storage.map_or_else(String::new, |size| format!(", {size} disk"));
    let mut rows = vec![row("run", run.to_string()), row("image", image.clone())];
    for (role, settings) in [
        ("coordinator", &submission.settings.coordinator),
        ("workers", &submission.settings.workers),
    ] {
        if let Some(own) = &settings.image {
            rows.push(row("image", format!("{} for the {role}", own.name)));
        }
    }
    rows.extend([
        row(
            "workers",
            format!(
                "{pods} pod{plural} of a {}: {shared} {} CPU, {} memory{disk}{gpu}",
                submission.output.kind(),
                workers.cpu,
                workers.memory
            ),
        ),
        row(
            "coordinator",
            format!(
                "1 pod of a StatefulSet: {} CPU, {} memory, {} volume for the journal",
                submission.coordinator.cpu, submission.coordinator.memory, submission.state_size
            ),
        ),
    ]);
    if let Some(queue) = &submission.queue {
        rows.push(row(
            "queue",
            format!("{queue}: workers wait for Kueue to admit them"),
        ));
    }
    for data in &submission.data {
        rows.push(row("data", format!("claim {data}, read-only")));
    }
    rows.push(row(
        "results",
        match &submission.storage {
            RunStorage::Shared(claim) => format!("claim {claim}, folder {run}"),
            RunStorage::Remote => "object storage, as run.toml says".to_owned(),
        },
    ));
    if let Some(secret) = &submission.s3_secret {
        rows.push(row("s3", format!("credentials of Secret {secret}")));
    }
    let objects: Vec<String> = manifests
        .iter()
        .map(|manifest| format!("{} {}", manifest.kind, manifest.name))
        .collect();
    rows.push(row("objects", objects.join(", ")));
    rows
}
