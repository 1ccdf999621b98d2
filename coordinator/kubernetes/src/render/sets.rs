//! Workers as a JobSet, or as a Kubeflow TrainJob. These are custom resources, so they are written as JSON around the
//! same Job that `workers` renders.

use serde_json::{Value, json};

use super::metadata::{all, metadata};
use super::workers::{KEPT_SECONDS, QUEUE_LABEL, job_spec};
use crate::manifest::ObjectManifest;
use crate::names::WORKER;
use crate::submission::Submission;

/// What the trainer's controllers look for.
const NODE: &str = "node";
const ANCESTOR_LABEL: &str = "trainer.kubeflow.org/trainjob-ancestor-step";

fn head(submission: &Submission, name: String, queued: bool) -> Value {
    let mut metadata = metadata(submission, name, WORKER);
    if let (true, Some(queue), Some(labels)) = (queued, &submission.queue, &mut metadata.labels) {
        labels.insert(QUEUE_LABEL.into(), queue.to_string());
    }
    json!(metadata)
}

/// One replicated job; its pods find each other by the run's worker Service.
fn set(submission: &Submission, name: &str, labels: Value) -> Value {
    json!({
        "network": {
            "enableDNSHostnames": true,
            "publishNotReadyAddresses": true,
            "subdomain": submission.run.workers(),
        },
        // The Job inside retries its indexes; a set started anew would lose what the survivors hold.
        "failurePolicy": {"maxRestarts": 0},
        "replicatedJobs": [{
            "name": name,
            "replicas": 1,
            "template": {
                "metadata": {"labels": labels},
                "spec": job_spec(submission, name),
            },
        }],
    })
}

pub(super) fn job_set(submission: &Submission) -> ObjectManifest {
    let mut spec = set(submission, WORKER, json!(all(submission, WORKER)));
    spec["ttlSecondsAfterFinished"] = KEPT_SECONDS.into();
    if submission.queue.is_some() {
        spec["suspend"] = true.into();
    }
    ObjectManifest::custom(json!({
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": head(submission, submission.run.to_string(), true),
        "spec": spec,
    }))
}

pub(super) fn train_job(submission: &Submission) -> [ObjectManifest; 2] {
    let mut labels = json!(all(submission, WORKER));
    labels[ANCESTOR_LABEL] = "trainer".into();
    let runtime = json!({
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": head(submission, submission.run.to_string(), false),
        "spec": {
            "mlPolicy": {"numNodes": submission.worker_pods()},
            "template": {"spec": set(submission, NODE, labels)},
        },
    });
    let mut spec = json!({
        "runtimeRef": {
            "apiGroup": "trainer.kubeflow.org",
            "kind": "TrainingRuntime",
            "name": submission.run.as_str(),
        },
        "trainer": {"numNodes": submission.worker_pods()},
    });
    if submission.queue.is_some() {
        spec["suspend"] = true.into();
    }
    let job = json!({
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": head(submission, submission.run.to_string(), true),
        "spec": spec,
    });
    [ObjectManifest::custom(runtime), ObjectManifest::custom(job)]
}
