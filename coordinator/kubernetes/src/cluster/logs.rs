//! The log of the coordinator or of a worker, now or as a stream of lines that outlives its connections.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{AsyncBufReadExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::LogParams;

use super::connect::{ANSWER_DEADLINE, Cluster};
use super::error::{Asked, ClusterError, explain};
use super::pods::{PodState, PodView};
use super::watch::{FailureSpan, SILENCE};
use crate::names::RunName;

/// Logs come through the kubelet of the pod's node, which may be gone while the API is well.
const KUBELET_DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(1);

type Lines = Pin<Box<dyn Stream<Item = std::io::Result<String>> + Send>>;

/// Whose log is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOf {
    Coordinator(RunName),
    /// The worker of a slot: its successor, once it was replaced.
    Worker(RunName, u32),
}

impl LogOf {
    /// Whether a line of the pod's log is meant: workers that share a pod share its log.
    fn covers(&self, line: &str) -> bool {
        match self {
            Self::Coordinator(_) => true,
            Self::Worker(_, slot) => slot_of(line).is_none_or(|of| of == *slot),
        }
    }

    fn run(&self) -> &RunName {
        let (Self::Coordinator(run) | Self::Worker(run, _)) = self;
        run
    }
}

/// Follows the only container of a pod; a line is told once, however often the connection breaks.
pub(super) struct LogTail {
    cluster: Cluster,
    of: LogOf,
    /// The pod that was read last.
    pod: Option<String>,
    lines: Option<Lines>,
    /// When the last line was written that was told.
    last: Option<Timestamp>,
    failures: FailureSpan,
}

impl LogTail {
    pub fn new(cluster: &Cluster, of: LogOf) -> Self {
        Self {
            cluster: cluster.clone(),
            of,
            pod: None,
            lines: None,
            last: None,
            failures: FailureSpan::default(),
        }
    }

    /// The next line; waits for the container to start. May be dropped and called again at any time.
    ///
    /// # Errors
    /// The API refuses, or was out of reach for too long.
    pub async fn next(&mut self) -> Result<String, ClusterError> {
        loop {
            if self.lines.is_none() {
                self.lines = self.open().await?;
            }
            let Some(lines) = &mut self.lines else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let Ok(line) = tokio::time::timeout(SILENCE, lines.next()).await else {
                // Perhaps nobody is there any more: the next one goes on behind the last line.
                self.lines = None;
                continue;
            };
            match line {
                Some(Ok(line)) => {
                    if let Some(text) = self.once(&line) {
                        return Ok(text);
                    }
                }
                // Ended with the container, or broke: there may be another one.
                Some(Err(_)) | None => {
                    self.lines = None;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// The text of a line that was not told yet.
    fn once(&mut self, line: &str) -> Option<String> {
        let (at, text) = line.split_once(' ').unwrap_or((line, ""));
        let Ok(at) = at.parse::<Timestamp>() else {
            return Some(line.to_owned());
        };
        if self.last.is_some_and(|last| at <= last) {
            return None;
        }
        self.last = Some(at);
        Some(text.to_owned())
    }

    /// Nothing, where there is no container yet.
    async fn open(&mut self) -> Result<Option<Lines>, ClusterError> {
        let pod = match self.cluster.pod_of(&self.of).await {
            Ok(Some(pod)) => pod,
            Ok(None) => return self.without_a_pod().await,
            Err(cause) => return self.failed(cause),
        };
        if self.pod.as_ref() != Some(&pod) {
            // Another pod may be on a node with another clock.
            self.last = None;
            self.pod = Some(pod.clone());
        }
        let parameters = LogParams {
            follow: true,
            timestamps: true,
            since_time: self.last,
            ..LogParams::default()
        };
        let api = self.cluster.api::<Pod>();
        let cause = match tokio::time::timeout(KUBELET_DEADLINE, api.log_stream(&pod, &parameters)).await {
            Ok(Ok(stream)) => {
                self.failures.succeeded();
                return Ok(Some(Box::pin(stream.lines())));
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 400 => {
                self.failures.succeeded();
                return Ok(None);
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return self.without_a_pod().await,
            Ok(Err(cause)) => self.cluster.without_log(&pod, &cause),
            Err(_) => silent_kubelet(&pod, KUBELET_DEADLINE),
        };
        self.failed(cause)
    }

    /// A run that is there may get its pod later; one that is not there never does.
    async fn without_a_pod(&mut self) -> Result<Option<Lines>, ClusterError> {
        match self.cluster.coordinator_of(self.of.run()).await {
            Ok(_) => {
                self.failures.succeeded();
                Ok(None)
            }
            Err(cause @ ClusterError::NoRun { .. }) => Err(cause),
            Err(cause) => self.failed(cause),
        }
    }

    fn failed(&mut self, cause: ClusterError) -> Result<Option<Lines>, ClusterError> {
        match self.failures.may_pass(&cause) {
            true => Ok(None),
            false => Err(cause),
        }
    }
}

impl Cluster {
    /// Name of the pod whose log is meant; nothing where a slot has none now.
    pub(super) async fn pod_of(&self, of: &LogOf) -> Result<Option<String>, ClusterError> {
        let (run, slot) = match of {
            LogOf::Coordinator(run) => return Ok(Some(run.coordinator_pod())),
            LogOf::Worker(run, slot) => (run, *slot),
        };
        let pods: Vec<Pod> = self.list("Pod", &run.selector()).await?;
        let of_slot = pods.iter().filter(|pod| {
            let view = PodView::of(pod);
            view.serves(slot)
        });
        // The one that runs, else the one that was made last.
        let newest = of_slot.max_by_key(|pod| {
            let runs = PodView::of(pod).state == PodState::Running;
            (runs, pod.creation_timestamp().map(|made| made.0))
        });
        Ok(newest.map(ResourceExt::name_any))
    }

    /// What a log holds now, or its last lines. Empty where no container has started.
    ///
    /// # Errors
    /// There is no such run or pod, or the API refuses or does not answer.
    pub async fn log(&self, of: &LogOf, tail: Option<i64>) -> Result<String, ClusterError> {
        if let Some(pod) = self.pod_of(of).await?
            && let Some(text) = self.log_of_pod(&pod, tail).await?
        {
            let lines = text.split_inclusive('\n').filter(|line| of.covers(line));
            return Ok(lines.collect());
        }
        Err(self.no_pod(of).await)
    }

    /// Nothing, where the pod is gone; empty where no container has started.
    pub(super) async fn log_of_pod(
        &self,
        pod: &str,
        tail: Option<i64>,
    ) -> Result<Option<String>, ClusterError> {
        let parameters = LogParams {
            tail_lines: tail,
            ..LogParams::default()
        };
        let api = self.api::<Pod>();
        // A whole log may be long.
        let deadline = match tail {
            Some(_) => KUBELET_DEADLINE,
            None => ANSWER_DEADLINE,
        };
        match tokio::time::timeout(deadline, api.logs(pod, &parameters)).await {
            Ok(Ok(text)) => Ok(Some(text)),
            Ok(Err(kube::Error::Api(status))) if status.code == 400 => Ok(Some(String::new())),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Ok(Err(cause)) => Err(self.without_log(pod, &cause)),
            Err(_) => Err(silent_kubelet(pod, deadline)),
        }
    }

    /// Why a log cannot be read: mostly its node, sometimes the API.
    fn without_log(&self, pod: &str, cause: &kube::Error) -> ClusterError {
        match cause {
            kube::Error::Api(status) if status.code >= 500 => ClusterError::NoLog {
                pod: pod.to_owned(),
                reason: status.message.trim().to_owned(),
            },
            _ => explain(
                Asked {
                    what: &format!("read the log of pod `{pod}`"),
                    kind: "Pod",
                    namespace: &self.namespace,
                    server: &self.server,
                },
                cause,
            ),
        }
    }

    /// Every line of a log from its beginning, until told enough. A pod that is replaced is followed by the next one's.
    ///
    /// # Errors
    /// There is no such run, the slot has no pod, the API refuses, or was out of reach for too long.
    pub async fn follow_log(
        &self,
        of: &LogOf,
        tell: &mut (dyn FnMut(String) -> bool + Send),
    ) -> Result<(), ClusterError> {
        if self.pod_of(of).await?.is_none() {
            return Err(self.no_pod(of).await);
        }
        let mut log = LogTail::new(self, of.clone());
        loop {
            let line = log.next().await?;
            if of.covers(&line) && !tell(line) {
                return Ok(());
            }
        }
    }

    /// Why there is no pod: there is no such run, or it has none now.
    async fn no_pod(&self, of: &LogOf) -> ClusterError {
        let run = of.run();
        match self.coordinator_of(run).await {
            Err(cause) => cause,
            Ok(_) => ClusterError::NoPod {
                run: run.to_string(),
                of: match of {
                    LogOf::Coordinator(_) => "its coordinator".to_owned(),
                    LogOf::Worker(_, slot) => format!("slot {slot}"),
                },
            },
        }
    }
}

/// The slot of the worker that wrote the line, if it says so.
fn slot_of(line: &str) -> Option<u32> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let slot = line["spans"]
        .as_array()?
        .iter()
        .find_map(|span| span["slot"].as_u64())?;
    u32::try_from(slot).ok()
}

fn silent_kubelet(pod: &str, waited: Duration) -> ClusterError {
    ClusterError::NoLog {
        pod: pod.to_owned(),
        reason: format!("no answer within {} s", waited.as_secs()),
    }
}
