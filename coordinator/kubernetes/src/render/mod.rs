//! From a submission to its objects. Pure: no clock, no file, no random source.

mod coordinator;
mod files;
mod metadata;
mod network;
mod pods;
mod sets;
mod workers;

use crate::manifest::ObjectManifest;
use crate::names::DIGEST_ANNOTATION;
use crate::submission::{OutputKind, Submission};

pub(crate) use files::{RECORD_KEY, record_name, record_text};
pub use pods::RUNS_PATH;
pub(crate) use workers::{PROCESSES, QUEUE_LABEL};

/// The objects of a run, in the order in which they are to be applied.
#[must_use]
pub fn render(submission: &Submission) -> Vec<ObjectManifest> {
    let mut manifests = vec![files::config_map(submission)];
    manifests.extend(files::secrets(submission));
    manifests.extend(network::policies(submission));
    manifests.push(coordinator::service(submission));
    match submission.output {
        OutputKind::IndexedJob => manifests.push(workers::service(submission)),
        // A JobSet makes the Service of its pods itself.
        OutputKind::JobSet | OutputKind::TrainJob => {}
    }
    manifests.push(coordinator::stateful_set(submission));
    if submission.monitoring.pod_monitor {
        manifests.push(network::pod_monitor(submission));
    }
    match submission.output {
        OutputKind::IndexedJob => manifests.push(workers::job(submission)),
        OutputKind::JobSet => manifests.push(sets::job_set(submission)),
        OutputKind::TrainJob => manifests.extend(sets::train_job(submission)),
    }
    let digest = digest(&manifests);
    for manifest in &mut manifests {
        manifest.annotate(DIGEST_ANNOTATION, &digest);
    }
    manifests
}

/// A run as `submit` applies it: its objects, and a copy of what runs its workers, so that stopping can delete it and
/// resuming can create it again.
#[must_use]
pub fn render_submission(submission: &Submission) -> Vec<ObjectManifest> {
    let mut manifests = render(submission);
    if let Some(workers) = manifests.last().cloned() {
        let digest = workers.value["metadata"]["annotations"][DIGEST_ANNOTATION].as_str();
        let mut record = files::record(submission, &workers);
        record.annotate(DIGEST_ANNOTATION, digest.unwrap_or_default());
        manifests.insert(1, record);
    }
    manifests
}

/// Tells one submission of a run from another. Credentials are drawn anew by each and do not count.
fn digest(manifests: &[ObjectManifest]) -> String {
    let mut hasher = blake3::Hasher::new();
    for manifest in manifests.iter().filter(|manifest| manifest.kind != "Secret") {
        hasher.update(manifest.value.to_string().as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}
