//! Runs that are in the namespace, and how each stands.

use std::collections::BTreeMap;
use ulda_run::{RunEnd, hinted};

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use serde::Serialize;

use super::connect::Cluster;
use super::error::ClusterError;
use super::events::refusal;
use super::jobs::{end_with_workers, shortage};
use super::lines::{ClusterLogLine, LoggedProgress, on_one_line};
use super::pods::{PodState, PodView};
use super::verbs::recorded_end;
use crate::names::{COMPONENT_LABEL, COORDINATOR, INSTANCE_LABEL, NAME, NAME_LABEL, RunName};

/// Enough of a log to hold its last progress line.
const TAIL_LINES: i64 = 200;

/// Logs that are read at the same time.
const LOGS_AT_ONCE: usize = 16;

/// How a run stands, as far as the cluster and its coordinator's log tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterRunState {
    /// The coordinator does not run yet.
    Starting,
    /// It runs, and waits for workers.
    Waiting,
    Training,
    /// The coordinator runs, and its log cannot be read or its node does not answer.
    Unknown,
    Finished,
    Failed,
    /// Stopped by a person; can be resumed.
    Stopped,
}

impl ClusterRunState {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::Training => "training",
            Self::Unknown => "unknown",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// One run of a namespace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunView {
    pub run: String,
    pub namespace: String,
    pub state: ClusterRunState,
    pub why: String,
    pub image: String,
    pub workers_wanted: u32,
    pub workers_running: u32,
    /// Why workers are missing: their pods are refused, or not admitted yet. Empty where nothing is in their way.
    pub workers_why: String,
    /// RFC 3339.
    pub created: Option<String>,
    pub progress: Option<ProgressView>,
    /// Why the coordinator's log could not be read, and so neither state nor progress be told.
    pub log_missing: Option<String>,
    pub pods: Vec<PodView>,
}

/// Progress as it was last told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProgressView {
    pub stage: String,
    pub step: u64,
    pub steps: u64,
    pub images_per_second: Option<f64>,
    pub seconds_left: Option<u64>,
    pub losses: BTreeMap<String, f64>,
}

impl From<LoggedProgress> for ProgressView {
    fn from(logged: LoggedProgress) -> Self {
        Self {
            stage: logged.stage,
            step: logged.step,
            steps: logged.steps,
            images_per_second: logged.images_per_second,
            seconds_left: logged.seconds_left,
            losses: logged.losses,
        }
    }
}

impl Cluster {
    /// All runs of the namespace, in order of name.
    ///
    /// # Errors
    /// The API refuses or does not answer.
    pub async fn runs(&self) -> Result<Vec<RunView>, ClusterError> {
        let every = format!("{NAME_LABEL}={NAME}");
        let coordinators = format!("{every},{COMPONENT_LABEL}={COORDINATOR}");
        let sets: Vec<StatefulSet> = self.list("StatefulSet", &coordinators).await?;
        let mut pods: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
        for pod in self.list::<Pod>("Pod", &every).await? {
            let run = pod.labels().get(INSTANCE_LABEL).cloned().unwrap_or_default();
            pods.entry(run).or_default().push(pod);
        }
        let mut jobs: BTreeMap<String, Vec<Job>> = BTreeMap::new();
        for job in self.list::<Job>("Job", &every).await? {
            let run = job.labels().get(INSTANCE_LABEL).cloned().unwrap_or_default();
            jobs.entry(run).or_default().push(job);
        }
        let events = self.obstacles().await;
        let views = sets.iter().map(|set| {
            let run = set.labels().get(INSTANCE_LABEL).cloned().unwrap_or_default();
            let (pods, jobs) = (pods.remove(&run), jobs.remove(&run));
            self.view(set, pods.unwrap_or_default(), jobs.unwrap_or_default(), &events)
        });
        // One node that does not answer delays the others' logs only once.
        let views = futures_util::stream::iter(views).buffered(LOGS_AT_ONCE);
        let mut runs: Vec<RunView> = views.collect().await;
        runs.sort_by(|left, right| left.run.cmp(&right.run));
        Ok(runs)
    }

    /// One run.
    ///
    /// # Errors
    /// There is none of that name, or the API refuses or does not answer.
    pub async fn run(&self, run: &RunName) -> Result<RunView, ClusterError> {
        let set = self.coordinator_of(run).await?;
        let pods = self.list::<Pod>("Pod", &run.selector()).await?;
        let jobs = self.jobs_of(run).await?;
        let events = self.obstacles().await;
        Ok(self.view(&set, pods, jobs, &events).await)
    }

    pub(super) async fn coordinator_of(&self, run: &RunName) -> Result<StatefulSet, ClusterError> {
        let api = self.api::<StatefulSet>();
        let name = run.coordinator();
        let found = self
            .ask(
                "StatefulSet",
                &format!("look for StatefulSet `{name}`"),
                api.get_opt(&name),
            )
            .await?;
        found
            .filter(|set| set.labels().get(NAME_LABEL).is_some_and(|held| held == NAME))
            .ok_or_else(|| ClusterError::NoRun {
                run: run.to_string(),
                namespace: self.namespace.clone(),
            })
    }

    async fn view(&self, set: &StatefulSet, pods: Vec<Pod>, jobs: Vec<Job>, events: &[Event]) -> RunView {
        let run = set.labels().get(INSTANCE_LABEL).cloned().unwrap_or_default();
        let spec = set.spec.clone().unwrap_or_default();
        let container = spec
            .template
            .spec
            .and_then(|pod| pod.containers.into_iter().next());
        let wanted = container
            .iter()
            .flat_map(|container| container.args.iter().flatten());
        let wanted = wanted
            .filter_map(|argument| argument.strip_prefix("--workers=")?.parse().ok())
            .next();
        let mut pods: Vec<PodView> = pods.iter().map(PodView::of).collect();
        pods.sort_by(|left, right| {
            (&left.component, left.index, &left.name).cmp(&(&right.component, right.index, &right.name))
        });
        let running = pods
            .iter()
            .filter(|pod| pod.is_worker() && pod.state == PodState::Running)
            .map(|pod| pod.workers)
            .sum::<u32>();
        let coordinator = pods.iter().find(|pod| pod.component == COORDINATOR);
        let (said, log_missing) = match coordinator {
            Some(pod) if pod.state == PodState::Running => match self.last_words(&pod.name).await {
                Ok(said) => (said, None),
                Err(cause) => (Said::default(), Some(on_one_line(&hinted(&cause, cause.hint())))),
            },
            Some(_) | None => (Said::default(), None),
        };
        let end = said.end.or_else(|| match spec.replicas {
            Some(0) => recorded_end(set),
            _ => coordinator
                .and_then(PodView::end_of_crashes)
                .or_else(|| end_with_workers(&jobs, &pods)),
        });
        let (state, why) = match (&end, coordinator) {
            (Some(RunEnd::Finished { digest }), _) => (ClusterRunState::Finished, format!("digest {digest}")),
            (Some(RunEnd::Failed { why, .. }), _) => (ClusterRunState::Failed, on_one_line(why)),
            (Some(RunEnd::Stopped), _) => (ClusterRunState::Stopped, "on its status page".to_owned()),
            (None, _) if spec.replicas == Some(0) => (ClusterRunState::Stopped, String::new()),
            (None, Some(pod)) if pod.state == PodState::Running && pod.why.is_empty() => {
                match (&log_missing, &said.progress) {
                    (Some(why), _) => (ClusterRunState::Unknown, why.clone()),
                    (None, Some(_)) if running > 0 => (ClusterRunState::Training, said.text),
                    (None, _) => (ClusterRunState::Waiting, said.text),
                }
            }
            (None, Some(pod)) if pod.state == PodState::Unreachable => {
                (ClusterRunState::Unknown, pod.why.clone())
            }
            (None, Some(pod)) => (ClusterRunState::Starting, pod.why.clone()),
            (None, None) => (
                ClusterRunState::Starting,
                refusal(events, set.metadata.uid.as_deref())
                    .unwrap_or_else(|| "its coordinator's pod is not there".to_owned()),
            ),
        };
        let created = set.metadata.creation_timestamp.as_ref();
        RunView {
            workers_why: shortage(&run, &jobs, &pods, events).unwrap_or_default(),
            run,
            namespace: self.namespace.clone(),
            state,
            why,
            image: container
                .and_then(|container| container.image)
                .unwrap_or_default(),
            workers_wanted: wanted.unwrap_or(0),
            workers_running: running,
            created: created.map(|at| at.0.to_string()),
            progress: said.progress.map(ProgressView::from),
            log_missing,
            pods,
        }
    }

    /// How the coordinator's log says that the run ended. Nothing where it does not say, or cannot be read.
    pub(super) async fn end_in_log(&self, run: &RunName) -> Option<RunEnd> {
        self.last_words(&run.coordinator_pod()).await.ok()?.end
    }

    async fn last_words(&self, pod: &str) -> Result<Said, ClusterError> {
        let text = self.log_of_pod(pod, Some(TAIL_LINES)).await?.unwrap_or_default();
        let mut said = Said::default();
        for line in text.lines() {
            match ClusterLogLine::parse(line) {
                ClusterLogLine::Progress(progress) => said.progress = Some(progress),
                ClusterLogLine::Ended(end) => said.end = Some(end),
                ClusterLogLine::Message { text, .. } => said.text = text,
                ClusterLogLine::Raw(_) => {}
            }
        }
        Ok(said)
    }
}

/// What the end of a log comes to.
#[derive(Default)]
struct Said {
    progress: Option<LoggedProgress>,
    end: Option<RunEnd>,
    text: String,
}
