//! The log of one pod as a stream of lines that outlives its connections.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{AsyncBufReadExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::LogParams;
use tokio::time::Instant;

use super::connect::{ANSWER_DEADLINE, Cluster};
use super::error::{Asked, Blame, ClusterError, explain};
use super::watch::{OUTAGE, SILENCE};

const PAUSE: Duration = Duration::from_secs(1);

type Lines = Pin<Box<dyn Stream<Item = std::io::Result<String>> + Send>>;

/// Follows the only container of a pod; a line is told once, however often the connection breaks.
pub(super) struct LogTail {
    cluster: Cluster,
    pod: String,
    lines: Option<Lines>,
    /// When the last line was written that was told.
    last: Option<Timestamp>,
    failing_since: Option<Instant>,
}

impl LogTail {
    pub fn new(cluster: &Cluster, pod: &str) -> Self {
        Self {
            cluster: cluster.clone(),
            pod: pod.to_owned(),
            lines: None,
            last: None,
            failing_since: None,
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
                    self.failing_since = None;
                    if let Some(text) = self.told(&line) {
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
    fn told(&mut self, line: &str) -> Option<String> {
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
        let parameters = LogParams {
            follow: true,
            timestamps: true,
            since_time: self.last,
            ..LogParams::default()
        };
        let api = self.cluster.api::<Pod>();
        let what = format!("read the log of pod `{}`", self.pod);
        let cause = match tokio::time::timeout(ANSWER_DEADLINE, api.log_stream(&self.pod, &parameters)).await
        {
            Ok(Ok(stream)) => return Ok(Some(Box::pin(stream.lines()))),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 400 | 404) => return Ok(None),
            Ok(Err(cause)) => explain(
                Asked {
                    what: &what,
                    kind: "Pod",
                    namespace: &self.cluster.namespace,
                    server: &self.cluster.server,
                },
                &cause,
            ),
            Err(_) => ClusterError::Late {
                what,
                waited: ANSWER_DEADLINE,
            },
        };
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if cause.blame() == Blame::Input || since.elapsed() > OUTAGE {
            return Err(cause);
        }
        Ok(None)
    }
}
