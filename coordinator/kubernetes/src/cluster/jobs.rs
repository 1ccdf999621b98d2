//! The Job that runs the workers, whichever kind of output made it: whether it can still bring forth workers.

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use ulda_run::{Exit, RunEnd};

use super::connect::Cluster;
use super::error::ClusterError;
use super::pods::{PodState, PodView};
use crate::names::RunName;

impl Cluster {
    /// The Jobs of a run; a JobSet or a TrainJob makes one too, with the same labels.
    pub(super) async fn jobs_of(&self, run: &RunName) -> Result<Vec<Job>, ClusterError> {
        self.list("Job", &run.selector()).await
    }
}

/// How the run ended with the Job of its workers, which failed for good. The coordinator may not know: a worker that
/// finds no GPU ends before it joins.
pub(super) fn end_with_workers(jobs: &[Job], pods: &[PodView]) -> Option<RunEnd> {
    let failed = jobs
        .iter()
        .filter(|job| job.metadata.deletion_timestamp.is_none())
        .find_map(|job| condition(job, &["Failed", "FailureTarget"]))?;
    let told = failed.message.clone().unwrap_or_default();
    let of_workers = pods
        .iter()
        .filter(|pod| pod.is_worker() && pod.state == PodState::Failed);
    let bad_input = i32::from(Exit::BadInput);
    // One that cannot run as it was configured explains the others' end.
    let culprit = of_workers.max_by_key(|pod| (pod.exit_code == Some(bad_input), told.contains(&pod.name)));
    let why = match culprit {
        Some(PodView {
            index: Some(index),
            why,
            ..
        }) if !why.is_empty() => format!("worker {index} failed for good: {why}"),
        Some(_) | None => format!("the workers failed for good: {told}"),
    };
    let is_bad_input = match culprit {
        Some(pod) => pod.exit_code == Some(bad_input),
        None => told.contains(&format!("exit code {bad_input} ")),
    };
    Some(RunEnd::Failed {
        why,
        exit: match is_bad_input {
            true => Exit::BadInput,
            false => Exit::RunFailed,
        },
    })
}

/// The first of these conditions that holds.
fn condition<'a>(job: &'a Job, names: &[&str]) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.iter().flatten();
    let mut holding = conditions.filter(|condition| condition.status == "True");
    holding.find(|condition| names.contains(&condition.type_.as_str()))
}
