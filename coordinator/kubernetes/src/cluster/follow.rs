//! A run from here to its end: what its pods are up to and what its coordinator says.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;
use ulda_run::{Exit, RunEnd};

use futures_util::StreamExt;
use futures_util::stream::unfold;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event as CoreEvent, Pod};
use kube::ResourceExt;
use tokio::time::{Instant, MissedTickBehavior};

use super::connect::Cluster;
use super::error::ClusterError;
use super::events::refusal;
use super::jobs::{end_with_workers, shortage};
use super::lines::ClusterLogLine;
use super::logs::{LogOf, LogTail};
use super::pods::{PodState, PodView, summary};
use super::verbs::recorded_end;
use super::watch::{Change, Watch};
use crate::names::{COORDINATOR, RunName};

/// A coordinator that cannot start gets this long, as its volume or image may come late.
const STUCK_FOR: Duration = Duration::from_secs(60);
/// A coordinator whose workers failed for good gets this long to say itself how the run ended.
const CONCLUDING_FOR: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What somebody who follows a run hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// The pods of the workers, counted; told when it changes.
    Workers(String),
    /// The coordinator's pod, while it does not run.
    Coordinator(String),
    Line(ClusterLogLine),
}

/// How following ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    Over(RunEnd),
    /// The coordinator cannot start, in the cluster's words.
    Stuck {
        why: String,
        exit: Exit,
    },
    /// Somebody stopped or deleted the run.
    Gone,
}

enum Event {
    Pods(Change<Pod>),
    Line(String),
    /// Nothing, where the API does not tell.
    LookAround(Option<Surroundings>),
}

/// What there is of a run besides its pods.
struct Surroundings {
    run: String,
    set: StatefulSet,
    jobs: Vec<Job>,
    events: Vec<CoreEvent>,
}

impl Cluster {
    /// Tells what happens to the run until it is over.
    ///
    /// # Errors
    /// The API refuses, or was out of reach for too long.
    pub async fn follow(
        &self,
        run: &RunName,
        tell: &mut (dyn FnMut(Happening) + Send),
    ) -> Result<Followed, ClusterError> {
        match self.coordinator_of(run).await {
            Ok(set) => {
                if let Some(end) = recorded_end(&set) {
                    return Ok(Followed::Over(end));
                }
            }
            Err(cause @ ClusterError::NoRun { .. }) => return Err(cause),
            // Whatever else is amiss may pass.
            Err(_) => {}
        }
        let watch: Watch<Pod> = Watch::new(self, "pods", run.selector());
        let log = LogTail::new(self, LogOf::Coordinator(run.clone()));
        // As streams: what one waits for goes on, with its deadlines, while another one has something to tell.
        let mut changes = pin!(unfold(watch, async |mut watch| Some((watch.next().await, watch))));
        let mut lines = pin!(unfold(log, async |mut log| Some((log.next().await, log))));
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = pin!(unfold(look, async |mut look| {
            look.tick().await;
            Some((self.surroundings(run).await.ok(), look))
        }));
        let mut scene = Scene::default();
        loop {
            let event = tokio::select! {
                biased;
                Some(change) = changes.next() => Event::Pods(change?),
                Some(line) = lines.next() => match line {
                    Err(ClusterError::NoRun { .. }) => return Ok(Followed::Gone),
                    line => Event::Line(line?),
                },
                Some(seen) = looks.next() => Event::LookAround(seen),
            };
            match event {
                Event::Pods(change) => scene.change(change),
                Event::Line(text) => match ClusterLogLine::parse(&text) {
                    ClusterLogLine::Ended(end) => return Ok(Followed::Over(end)),
                    line => tell(Happening::Line(line)),
                },
                Event::LookAround(seen) => {
                    if let Some(seen) = &seen {
                        scene.look_at(seen);
                    }
                    if let Some(followed) = scene.verdict() {
                        return Ok(followed);
                    }
                }
            }
            for happening in scene.news() {
                tell(happening);
            }
        }
    }

    async fn surroundings(&self, run: &RunName) -> Result<Surroundings, ClusterError> {
        Ok(Surroundings {
            run: run.to_string(),
            set: self.coordinator_of(run).await?,
            jobs: self.jobs_of(run).await?,
            events: self.obstacles().await,
        })
    }
}

/// The pods as they are known.
#[derive(Default)]
struct Scene {
    pods: BTreeMap<String, PodView>,
    coordinator_was_there: bool,
    stuck_since: Option<Instant>,
    gone_since: Option<Instant>,
    /// The Job of the workers failed for good.
    failed: Option<(Instant, RunEnd)>,
    /// Why the coordinator's pod cannot be created.
    refused: Option<String>,
    short_of_workers: Option<String>,
    told_workers: String,
    told_coordinator: String,
}

impl Scene {
    fn change(&mut self, change: Change<Pod>) {
        match change {
            Change::All(pods) => {
                self.pods = pods
                    .iter()
                    .map(|pod| (pod.name_any(), PodView::of(pod)))
                    .collect();
            }
            Change::One(pod) => {
                self.pods.insert(pod.name_any(), PodView::of(&pod));
            }
            Change::Gone(pod) => {
                self.pods.remove(&pod.name_any());
            }
        }
        let coordinator = self.coordinator();
        let stuck = coordinator.is_some_and(|pod| pod.state == PodState::Stuck);
        let (there, now) = (coordinator.is_some(), Instant::now());
        self.coordinator_was_there |= there;
        self.stuck_since = stuck.then(|| self.stuck_since.unwrap_or(now));
        self.gone_since = (!there).then(|| self.gone_since.unwrap_or(now));
    }

    fn look_at(&mut self, seen: &Surroundings) {
        let pods: Vec<PodView> = self.pods.values().cloned().collect();
        let since = self
            .failed
            .as_ref()
            .map_or_else(Instant::now, |(since, _)| *since);
        self.failed = end_with_workers(&seen.jobs, &pods).map(|end| (since, end));
        self.refused = refusal(&seen.events, seen.set.metadata.uid.as_deref());
        self.short_of_workers = shortage(&seen.run, &seen.jobs, &pods, &seen.events);
    }

    fn coordinator(&self) -> Option<&PodView> {
        self.pods.values().find(|pod| pod.component == COORDINATOR)
    }

    /// What ends the following although the coordinator said nothing.
    fn verdict(&self) -> Option<Followed> {
        if let Some((since, end)) = &self.failed
            && since.elapsed() >= CONCLUDING_FOR
        {
            return Some(Followed::Over(end.clone()));
        }
        let patience = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() >= STUCK_FOR);
        if patience(self.gone_since) {
            return Some(match (&self.refused, self.coordinator_was_there) {
                (Some(why), _) => Followed::Stuck {
                    why: why.clone(),
                    exit: Exit::Unavailable,
                },
                (None, true) => Followed::Gone,
                (None, false) => Followed::Stuck {
                    why: "no pod of it appears, which `kubectl describe statefulset` explains, or the run was stopped"
                        .into(),
                    exit: Exit::Failed,
                },
            });
        }
        let coordinator = self.coordinator()?;
        if let Some(end) = coordinator.end_of_crashes() {
            return Some(Followed::Over(end));
        }
        patience(self.stuck_since).then(|| Followed::Stuck {
            why: coordinator.why.clone(),
            exit: Exit::Failed,
        })
    }

    fn news(&mut self) -> Vec<Happening> {
        let mut news = Vec::new();
        let coordinator = match self.coordinator() {
            Some(pod) if pod.state == PodState::Running => String::new(),
            Some(pod) if pod.why.is_empty() => pod.state.name().to_owned(),
            Some(pod) => format!("{} ({})", pod.state.name(), pod.why),
            None => self.refused.clone().unwrap_or_default(),
        };
        if coordinator != self.told_coordinator && !coordinator.is_empty() {
            news.push(Happening::Coordinator(coordinator.clone()));
        }
        self.told_coordinator = coordinator;
        let mut workers = summary(self.pods.values().filter(|pod| pod.is_worker()));
        if let Some(why) = &self.short_of_workers {
            workers.push_str(&format!("; {why}"));
        }
        if workers != self.told_workers {
            news.push(Happening::Workers(workers.clone()));
            self.told_workers = workers;
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_whose_pod_is_refused_may_start_later() {
        let mut scene = Scene {
            refused: Some("no pod can be created: exceeded quota: gpus".into()),
            gone_since: Some(Instant::now()),
            ..Scene::default()
        };
        assert_eq!(scene.verdict(), None, "a controller tries again");
        assert_eq!(
            scene.news(),
            [
                Happening::Coordinator("no pod can be created: exceeded quota: gpus".into()),
                Happening::Workers("none yet".into())
            ]
        );
        scene.gone_since = Some(Instant::now() - STUCK_FOR);
        let stuck = Followed::Stuck {
            why: "no pod can be created: exceeded quota: gpus".into(),
            exit: Exit::Unavailable,
        };
        assert_eq!(scene.verdict(), Some(stuck));
    }
}
