//! The Job that runs the workers, whichever kind of output made it: whether it has failed, and why it lacks workers.

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt;
use ulda_run::{Exit, RunEnd};

use super::connect::Cluster;
use super::error::ClusterError;
use super::events::{refusal, waiting_for_admission};
use super::pods::{PodState, PodView};
use crate::names::RunName;
use crate::render::QUEUE_LABEL;

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
    let message = failed.message.clone().unwrap_or_default();
    let of_workers = pods
        .iter()
        .filter(|pod| pod.is_worker() && pod.state == PodState::Failed);
    let bad_input = i32::from(Exit::BadInput);
    // One that cannot run as it was configured explains the others' end.
    let culprit =
        of_workers.max_by_key(|pod| (pod.exit_code == Some(bad_input), message.contains(&pod.name)));
    let told = culprit.and_then(|pod| Some((pod.worker_names()?, &pod.why)));
    let why = match told {
        Some((who, why)) if !why.is_empty() => format!("{who} failed for good: {why}"),
        Some(_) | None => format!("the workers failed for good: {message}"),
    };
    let is_bad_input = match culprit {
        Some(pod) => pod.exit_code == Some(bad_input),
        None => message.contains(&format!("exit code {bad_input} ")),
    };
    Some(RunEnd::Failed {
        why,
        exit: match is_bad_input {
            true => Exit::BadInput,
            false => Exit::RunFailed,
        },
    })
}

/// Why workers are missing although nothing has failed: their pods are refused, or not admitted yet.
pub(super) fn shortage(run: &str, jobs: &[Job], pods: &[PodView], events: &[Event]) -> Option<String> {
    let is_alive =
        |pod: &&PodView| pod.is_worker() && !matches!(pod.state, PodState::Failed | PodState::Done);
    let alive = pods.iter().filter(is_alive).count();
    jobs.iter().find_map(|job| {
        let spec = job.spec.as_ref()?;
        if condition(job, &["Complete", "Failed", "FailureTarget"]).is_some() {
            return None;
        }
        if spec.suspend == Some(true) {
            let owners = [
                format!("job-{}", job.name_any()),
                format!("jobset-{run}"),
                format!("trainjob-{run}"),
            ];
            let waiting = owners
                .iter()
                .find_map(|owner| waiting_for_admission(events, owner));
            let queue = job.labels().get(QUEUE_LABEL);
            return Some(match (waiting, queue) {
                (Some(why), _) => format!("not admitted by Kueue: {why}"),
                (None, Some(queue)) => format!("not admitted by Kueue's queue `{queue}` yet"),
                (None, None) => "suspended: something must set `suspend` of its Job to false".to_owned(),
            });
        }
        let wanted = usize::try_from(spec.parallelism.unwrap_or(1)).unwrap_or(0);
        (alive < wanted).then(|| refusal(events, job.metadata.uid.as_deref()))?
    })
}

/// The first of these conditions that holds.
fn condition<'a>(job: &'a Job, names: &[&str]) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.iter().flatten();
    let mut holding = conditions.filter(|condition| condition.status == "True");
    holding.find(|condition| names.contains(&condition.type_.as_str()))
}
