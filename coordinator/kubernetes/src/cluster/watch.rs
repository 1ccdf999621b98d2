//! A list that stays true: listed once, then watched from where the list ended. Watches that close are taken up
//! where they were; one that is too old for that (410 Gone) begins anew with a list.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::connect::{ANSWER_DEADLINE, Cluster};
use super::error::{Asked, Blame, ClusterError, explain};

/// The server closes a watch after this long; one that is silent for longer than that is dead.
const WATCH_SECONDS: u32 = 60;
pub(super) const SILENCE: Duration = Duration::from_secs(75);
/// How long the API may be out of reach in the middle of a watch.
const OUTAGE: Duration = Duration::from_secs(300);
/// How long a server may deny what it granted before: one that starts has not read its rules yet.
const DENIAL: Duration = Duration::from_secs(60);
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(8));

/// How long requests have failed, and whether to go on trying.
#[derive(Default)]
pub(super) struct FailureSpan {
    was_granted: bool,
    failing_since: Option<Instant>,
    denied_since: Option<Instant>,
}

impl FailureSpan {
    pub fn succeeded(&mut self) {
        *self = Self {
            was_granted: true,
            ..Self::default()
        };
    }

    pub fn may_pass(&mut self, cause: &ClusterError) -> bool {
        let now = Instant::now();
        let failing_since = *self.failing_since.get_or_insert(now);
        let denied_for = match cause.blame() {
            Blame::Passing => Duration::ZERO,
            Blame::Input if self.was_granted => now - *self.denied_since.get_or_insert(now),
            Blame::Input => return false,
        };
        now - failing_since <= OUTAGE && denied_for <= DENIAL
    }
}

/// What happened to the objects that are watched.
#[derive(Debug)]
pub(super) enum Change<K> {
    /// These are all there are.
    All(Vec<K>),
    One(K),
    Gone(K),
}

type Events<K> = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<K>>> + Send>>;

enum Stage<K> {
    Unlisted,
    /// Watched up to this version.
    Listed(String),
    Watching(String, Events<K>),
}

/// Objects of one kind that a selector finds.
pub(super) struct Watch<K> {
    cluster: Cluster,
    api: Api<K>,
    what: String,
    selector: String,
    stage: Stage<K>,
    failures: FailureSpan,
    pause: Duration,
}

enum Step<K> {
    Change(Change<K>),
    Nothing,
    TooOld,
    Failed(kube::Error),
    Late,
}

impl<K> Watch<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    pub fn new(cluster: &Cluster, what: &str, selector: String) -> Self {
        Self {
            api: cluster.api(),
            cluster: cluster.clone(),
            what: format!("watch {what}"),
            selector,
            stage: Stage::Unlisted,
            failures: FailureSpan::default(),
            pause: PAUSES.0,
        }
    }

    /// The next change; may be dropped and called again at any time.
    ///
    /// # Errors
    /// The API refuses, or was out of reach for too long.
    pub async fn next(&mut self) -> Result<Change<K>, ClusterError> {
        loop {
            let step = self.step().await;
            match step {
                Step::Change(change) => {
                    self.failures.succeeded();
                    self.pause = PAUSES.0;
                    return Ok(change);
                }
                Step::Nothing => {}
                Step::TooOld => self.stage = Stage::Unlisted,
                Step::Failed(cause) => self.failed(Some(cause)).await?,
                Step::Late => self.failed(None).await?,
            }
        }
    }

    async fn step(&mut self) -> Step<K> {
        match &mut self.stage {
            Stage::Unlisted => {
                let parameters = ListParams::default().labels(&self.selector);
                match tokio::time::timeout(ANSWER_DEADLINE, self.api.list(&parameters)).await {
                    Err(_) => Step::Late,
                    Ok(Err(cause)) => Step::Failed(cause),
                    Ok(Ok(list)) => {
                        self.stage = Stage::Listed(list.metadata.resource_version.unwrap_or_default());
                        Step::Change(Change::All(list.items))
                    }
                }
            }
            Stage::Listed(version) => {
                let version = version.clone();
                let parameters = WatchParams::default()
                    .labels(&self.selector)
                    .timeout(WATCH_SECONDS);
                match tokio::time::timeout(ANSWER_DEADLINE, self.api.watch(&parameters, &version)).await {
                    Err(_) => Step::Late,
                    Ok(Err(kube::Error::Api(status))) if status.code == 410 => Step::TooOld,
                    Ok(Err(cause)) => Step::Failed(cause),
                    Ok(Ok(events)) => {
                        self.failures.succeeded();
                        self.stage = Stage::Watching(version, Box::pin(events));
                        Step::Nothing
                    }
                }
            }
            Stage::Watching(version, events) => {
                let event = tokio::time::timeout(SILENCE, events.next()).await;
                let resume = Stage::Listed(version.clone());
                match event {
                    Err(_) | Ok(None) => {
                        self.stage = resume;
                        Step::Nothing
                    }
                    Ok(Some(Err(kube::Error::Api(status)))) if status.code == 410 => Step::TooOld,
                    Ok(Some(Err(cause))) => {
                        self.stage = resume;
                        Step::Failed(cause)
                    }
                    Ok(Some(Ok(event))) => self.heard(event),
                }
            }
        }
    }

    fn heard(&mut self, event: WatchEvent<K>) -> Step<K> {
        let Stage::Watching(version, _) = &mut self.stage else {
            return Step::Nothing;
        };
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                *version = object.resource_version().unwrap_or_default();
                Step::Change(Change::One(object))
            }
            WatchEvent::Deleted(object) => {
                *version = object.resource_version().unwrap_or_default();
                Step::Change(Change::Gone(object))
            }
            WatchEvent::Bookmark(mark) => {
                *version = mark.metadata.resource_version;
                Step::Nothing
            }
            WatchEvent::Error(status) if status.code == 410 => Step::TooOld,
            WatchEvent::Error(status) => {
                self.stage = Stage::Listed(version.clone());
                Step::Failed(kube::Error::Api(status))
            }
        }
    }

    /// Pauses before the next try, or gives up.
    async fn failed(&mut self, cause: Option<kube::Error>) -> Result<(), ClusterError> {
        let asked = Asked {
            what: &self.what,
            kind: "",
            namespace: &self.cluster.namespace,
            server: &self.cluster.server,
        };
        let error = match &cause {
            Some(cause) => explain(asked, cause),
            None => ClusterError::Late {
                what: self.what.clone(),
                waited: ANSWER_DEADLINE,
            },
        };
        if !self.failures.may_pass(&error) {
            return Err(error);
        }
        tracing::debug!(%error, "tried again");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
        Ok(())
    }
}
