//! What the pods of a run are up to, and why.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use kube::ResourceExt;
use serde::Serialize;
use ulda_run::{Exit, RunEnd};

use super::lines::reason_in;
use crate::names::{COMPONENT_LABEL, WORKER};
use crate::render::PROCESSES;

/// One pod, for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodView {
    pub name: String,
    /// `coordinator` or `worker`.
    pub component: String,
    /// The worker's slot; where workers share a pod, the pod's number.
    pub index: Option<u32>,
    /// Workers in it.
    pub workers: u32,
    pub state: PodState,
    /// Why it is in this state, in the cluster's words.
    pub why: String,
    pub node: Option<String>,
    pub restarts: i32,
    /// What its container ended with.
    pub exit_code: Option<i32>,
}

/// What a pod is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodState {
    /// Waits for a place on a node.
    Pending,
    /// Has a place; image or volumes are on their way.
    Starting,
    /// Will not start without a person's help.
    Stuck,
    Running,
    /// Its node does not answer, so nobody knows.
    Unreachable,
    Leaving,
    Done,
    Failed,
}

impl PodState {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Stuck => "stuck",
            Self::Running => "running",
            Self::Unreachable => "unreachable",
            Self::Leaving => "leaving",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// A coordinator that failed so often without a word on the run is not going to start.
const CRASHES: i32 = 3;

/// Reasons of a waiting container that do not pass by themselves.
const HOPELESS: [&str; 7] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "CrashLoopBackOff",
];

impl PodView {
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let container = status.container_statuses.as_ref().and_then(|all| all.first());
        let terminated = container.and_then(ended);
        let silence = silence_of_node(pod, container);
        let (state, why) = match status.phase.as_deref() {
            _ if silence.is_some() => (PodState::Unreachable, silence.unwrap_or_default()),
            _ if pod.metadata.deletion_timestamp.is_some() => (PodState::Leaving, disruption(pod)),
            Some("Succeeded") => (PodState::Done, String::new()),
            Some("Failed") => (
                PodState::Failed,
                terminated.clone().map_or_else(
                    || {
                        let told = status.message.clone().or(status.reason.clone());
                        told.unwrap_or_else(|| disruption(pod))
                    },
                    |(_, why)| why,
                ),
            ),
            _ => standing(pod, container),
        };
        let labels = pod.labels();
        Self {
            name: pod.name_any(),
            component: labels.get(COMPONENT_LABEL).cloned().unwrap_or_default(),
            index: labels
                .get("batch.kubernetes.io/job-completion-index")
                .and_then(|index| index.parse().ok()),
            workers: workers_in(pod),
            state,
            why,
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            restarts: container.map_or(0, |container| container.restart_count),
            exit_code: terminated.map(|(code, _)| code),
        }
    }

    /// How the run ended with this coordinator, which cannot start: with what it was given, or again and again.
    pub(super) fn end_of_crashes(&self) -> Option<RunEnd> {
        let exit = Exit::from(self.exit_code?);
        let is_final = match exit {
            Exit::BadInput => self.restarts > 0,
            // What these say may pass.
            Exit::Done | Exit::Unavailable | Exit::Interrupted | Exit::Terminated => false,
            Exit::Failed | Exit::RunFailed | Exit::DiskRefuses => self.restarts >= CRASHES,
        };
        (self.state == PodState::Stuck && is_final).then(|| RunEnd::Failed {
            why: format!("the coordinator cannot start: {}", self.why),
            exit,
        })
    }

    #[must_use]
    pub fn is_worker(&self) -> bool {
        self.component == WORKER
    }

    /// Whether the worker of this slot is in it.
    pub(super) fn serves(&self, slot: u32) -> bool {
        self.is_worker() && self.index == Some(slot / self.workers)
    }

    /// Its workers by their slots: `worker 3`, `workers 8 to 15`.
    pub(super) fn worker_names(&self) -> Option<String> {
        let index = self.index?;
        Some(match self.workers {
            1 => format!("worker {index}"),
            count => format!("workers {} to {}", index * count, index * count + count - 1),
        })
    }
}

/// How many workers a pod was told to start.
fn workers_in(pod: &Pod) -> u32 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut arguments = containers.flat_map(|container| container.args.iter().flatten());
    let count = arguments.find_map(|argument| argument.strip_prefix(PROCESSES)?.parse().ok());
    count.filter(|count| *count > 0).unwrap_or(1)
}

fn standing(pod: &Pod, container: Option<&ContainerStatus>) -> (PodState, String) {
    let waiting = container.and_then(|container| container.state.as_ref()?.waiting.as_ref());
    if let Some(waiting) = waiting {
        let reason = waiting.reason.clone().unwrap_or_default();
        let told = waiting.message.clone().unwrap_or_default();
        if HOPELESS.contains(&reason.as_str()) {
            let last = container.and_then(ended).map(|(_, why)| why);
            let why = match (reason.as_str(), last) {
                ("CrashLoopBackOff", Some(last)) => last,
                _ => joined(&reason, &told),
            };
            return (PodState::Stuck, why);
        }
        return (PodState::Starting, joined(&reason, &told));
    }
    let running = |container: &&ContainerStatus| {
        let state = container.state.as_ref();
        state.is_some_and(|state| state.running.is_some())
    };
    if let Some(container) = container.filter(running) {
        let failed = ended(container).filter(|(code, _)| *code != 0 && !container.ready);
        let why = failed.map_or_else(String::new, |(_, why)| format!("started again after {why}"));
        return (PodState::Running, why);
    }
    let unscheduled = condition(pod, "PodScheduled", "False").and_then(|condition| condition.message.clone());
    match unscheduled {
        Some(why) => (PodState::Pending, why),
        None if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) => {
            (PodState::Starting, String::new())
        }
        None => (PodState::Pending, String::new()),
    }
}

fn condition<'a>(pod: &'a Pod, name: &str, status: &str) -> Option<&'a PodCondition> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == name && condition.status == status)
}

/// Which node does not answer, and since when. The cluster then calls the pod not ready, while its container is still
/// as the node described it last.
fn silence_of_node(pod: &Pod, container: Option<&ContainerStatus>) -> Option<String> {
    let not_ready = condition(pod, "Ready", "False")?;
    let state = container.filter(|container| container.ready)?.state.as_ref()?;
    state.running.as_ref()?;
    let node = pod.spec.as_ref()?.node_name.as_ref()?;
    let since = not_ready.last_transition_time.as_ref();
    let since = since.map_or_else(String::new, |at| format!(" since {}", at.0));
    Some(format!("node `{node}` has not answered{since}"))
}

/// Why the cluster takes the pod away.
fn disruption(pod: &Pod) -> String {
    let told = condition(pod, "DisruptionTarget", "True").and_then(|condition| condition.message.clone());
    told.unwrap_or_default()
}

/// What the container ended with, now or the last time.
fn ended(container: &ContainerStatus) -> Option<(i32, String)> {
    let states = [container.state.as_ref(), container.last_state.as_ref()];
    let ended = states
        .into_iter()
        .flatten()
        .find_map(|state| state.terminated.as_ref())?;
    let said = reason_in(ended.message.as_deref().unwrap_or_default());
    let reason = ended
        .reason
        .clone()
        .filter(|reason| reason != "Error")
        .unwrap_or_default();
    let why = joined(&joined(&format!("exit code {}", ended.exit_code), &reason), &said);
    Some((ended.exit_code, why))
}

fn joined(first: &str, second: &str) -> String {
    match (first.is_empty(), second.is_empty()) {
        (false, false) => format!("{first}: {second}"),
        _ => format!("{first}{second}"),
    }
}

/// Workers counted by state, with the commonest reason of those that wait: `5 running, 3 pending (no GPU left)`.
#[must_use]
pub fn summary<'a>(pods: impl Iterator<Item = &'a PodView>) -> String {
    let mut counted: BTreeMap<PodState, (u32, BTreeMap<&str, u32>)> = BTreeMap::new();
    for pod in pods {
        let (count, reasons) = counted.entry(pod.state).or_default();
        *count += 1;
        if !pod.why.is_empty() {
            *reasons.entry(&pod.why).or_default() += 1;
        }
    }
    let parts = counted.iter().map(|(state, (count, reasons))| {
        let commonest = reasons
            .iter()
            .max_by_key(|(_, times)| **times)
            .map(|(why, _)| *why);
        match commonest {
            Some(why) => format!("{count} {} ({why})", state.name()),
            None => format!("{count} {}", state.name()),
        }
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() {
        "none yet".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(status: serde_json::Value) -> PodView {
        let pod = json!({"metadata": {"name": "fog-worker-3", "labels": {
            COMPONENT_LABEL: WORKER, "batch.kubernetes.io/job-completion-index": "3"}}, "status": status});
        PodView::of(&serde_json::from_value(pod).expect("a pod"))
    }

    fn container(state: serde_json::Value) -> serde_json::Value {
        json!({"phase": "Pending", "containerStatuses": [{
            "name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 2, "state": state}]})
    }

    #[test]
    fn reasons_are_found_where_the_cluster_hides_them() {
        let pending = view(json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available"}]}));
        assert_eq!(
            (pending.state, pending.why.as_str()),
            (PodState::Pending, "0/4 nodes are available")
        );
        assert_eq!(pending.index, Some(3));
        let stuck = view(container(
            json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}}),
        ));
        assert_eq!(
            (stuck.state, stuck.why.as_str()),
            (PodState::Stuck, "ErrImagePull: not found")
        );
        let mut failed = container(json!({"terminated": {
            "exitCode": 78, "reason": "Error", "message": "noise\nerror: no data\n  hint: mount it\n"}}));
        failed["phase"] = "Failed".into();
        let failed = view(failed);
        assert_eq!(
            (failed.exit_code, failed.why.as_str()),
            (Some(78), "exit code 78: no data; hint: mount it")
        );
        assert_eq!(
            summary([&pending, &stuck, &pending].into_iter()),
            "2 pending (0/4 nodes are available), 1 stuck (ErrImagePull: not found)"
        );
        assert_eq!(summary(std::iter::empty()), "none yet");
    }

    #[test]
    fn a_node_that_does_not_answer_is_named_with_its_time() {
        let mut pod = json!({"metadata": {"name": "fog-worker-3"}, "spec": {"containers": [], "nodeName": "gpu-3"},
            "status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-26T12:00:00Z"}],
                "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"running": {}}}]}});
        let view =
            |pod: &serde_json::Value| PodView::of(&serde_json::from_value(pod.clone()).expect("a pod"));
        let silent = (
            PodState::Unreachable,
            "node `gpu-3` has not answered since 2026-11-26T12:00:00Z".to_owned(),
        );
        let lost = view(&pod);
        assert_eq!((lost.state, lost.why), silent);
        // It is evicted, which only its node could confirm.
        pod["metadata"]["deletionTimestamp"] = "2026-11-26T12:05:00Z".into();
        let evicted = view(&pod);
        assert_eq!((evicted.state, evicted.why), silent);
        pod["status"] = json!({"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True",
            "message": "PodGC: node no longer exists"}]});
        assert_eq!(view(&pod).why, "PodGC: node no longer exists");
    }
}
