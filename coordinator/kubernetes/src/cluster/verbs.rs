//! Stop, resume, delete.
//!
//! Stopping deletes what runs the workers and scales the coordinator to none: journal, checkpoints and a copy of what
//! was deleted stay, and resuming creates it anew. So it is the same for every kind of output, under Kueue, and for a
//! Job that has ended and cannot be started again.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;
use ulda_run::RunEnd;

use super::apply::SECRET;
use super::connect::{CONFIG_MAP, Cluster, KINDS, ObjectKind, STATEFUL_SET};
use super::error::ClusterError;
use crate::manifest::ObjectManifest;
use crate::names::{COORDINATOR, END_ANNOTATION, FIELD_MANAGER, RunName, WORKER};
use crate::render::{RECORD_KEY, record_name, record_text};

const TRAINER: &str = "trainer.kubeflow.org";

/// Besides their grace period: for the cluster to notice.
const EXTRA_WAIT: Duration = Duration::from_secs(60);
const DEFAULT_GRACE: u64 = 90;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Whether the volume with the journal goes as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateVolume {
    Keep,
    Delete,
}

/// One deleted object.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Deleted {
    pub kind: String,
    pub name: String,
}

/// Images that a run continues with; those that are not named stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewImages {
    /// Of the workers, and of a coordinator that has the same one.
    pub all: Option<String>,
    pub coordinator: Option<String>,
}

/// What the coordinator's StatefulSet is changed to.
#[derive(Default)]
struct CoordinatorChange<'a> {
    replicas: i32,
    attempt: Option<&'a str>,
    image: Option<&'a str>,
    /// How the run had ended when its coordinator was stopped.
    end: Option<&'a RunEnd>,
}

impl Cluster {
    /// Lets workers leave, each after its step and a checkpoint, then the coordinator. A run that has ended keeps its end.
    ///
    /// # Errors
    /// No such run, a right that is missing (then nothing is changed), pods that do not leave, or the API refuses.
    pub async fn stop(&self, run: &RunName) -> Result<(), ClusterError> {
        let set = self.coordinator_of(run).await?;
        let record = self.record_of(run).await?;
        let kind = kind_of_record(run, &record)?;
        let grace = grace_of(&record);
        self.require(&[("delete", kind), ("patch", &STATEFUL_SET)])
            .await?;
        let end = match recorded_end(&set) {
            Some(end) => Some(end),
            None => self.end_in_log(run).await,
        };
        self.remove(kind, &record.name).await?;
        self.until_gone(run, kind, &record.name, grace).await?;
        let change = CoordinatorChange {
            end: end.as_ref(),
            ..CoordinatorChange::default()
        };
        self.change(run, &change).await
    }

    /// Starts coordinator and workers again; a run that failed is tried once more, under the name of `attempt`. With
    /// other images, workers that still run are replaced.
    ///
    /// # Errors
    /// No such run, one that was not submitted by this program, or the API refuses.
    pub async fn resume(&self, run: &RunName, attempt: &str, images: &NewImages) -> Result<(), ClusterError> {
        let set = self.coordinator_of(run).await?;
        let before = self.record_of(run).await?;
        let kind = kind_of_record(run, &before)?;
        let record = match &images.all {
            Some(image) => with_image(&before, image),
            None => before.clone(),
        };
        // What has ended cannot be started again; what still runs is left alone.
        let api = self.dynamic(kind);
        let what = format!("look for {} `{}`", record.kind, record.name);
        let found = self.ask(&record.kind, &what, api.get_opt(&record.name)).await?;
        let is_changed = record != before;
        let runs = !is_changed && found.as_ref().is_some_and(|found| !leaves(found));
        let mut rights = vec![("patch", &STATEFUL_SET)];
        if !runs {
            rights.extend([("delete", kind), ("create", kind)]);
        }
        if is_changed {
            rights.push(("patch", &CONFIG_MAP));
        }
        self.require(&rights).await?;
        let image = self.image_of_coordinator(&set, &before, images).await?;
        if is_changed {
            self.keep_record(run, &record).await?;
        }
        if found.is_some() && !runs {
            self.remove(kind, &record.name).await?;
            self.until_gone(run, kind, &record.name, grace_of(&record))
                .await?;
        }
        // The last try's coordinator still tells how that one ended, to whoever follows the run.
        self.change(run, &CoordinatorChange::default()).await?;
        let pod = run.coordinator_pod();
        let grace = Duration::from_secs(DEFAULT_GRACE);
        self.until_none(run, "Pod", &pod, grace, &self.api::<Pod>())
            .await?;
        let change = CoordinatorChange {
            replicas: 1,
            attempt: Some(attempt),
            image: image.as_deref(),
            end: None,
        };
        self.change(run, &change).await?;
        if !runs {
            self.create_once_known(run, &record).await?;
        }
        Ok(())
    }

    /// Deletes every object of the run; the claims with data and results are none of them.
    ///
    /// # Errors
    /// No such run, a right that is missing (then nothing is deleted), or the API refuses.
    pub async fn delete(&self, run: &RunName, state: StateVolume) -> Result<Vec<Deleted>, ClusterError> {
        let parameters = ListParams::default().labels(&run.selector());
        let was_submitted = match self.record_of(run).await {
            Ok(_) => true,
            Err(ClusterError::NotSubmitted { .. }) => false,
            Err(cause) => return Err(cause),
        };
        let mut found = Vec::new();
        for kind in &KINDS {
            if kind.kind == "PersistentVolumeClaim" && state == StateVolume::Keep {
                continue;
            }
            // Known by their names, so that nobody needs the right to read Secrets.
            if kind.kind == SECRET {
                let names = [COORDINATOR, WORKER].map(|component| run.credentials(component));
                found.extend(was_submitted.then(|| (kind, names.to_vec())));
                continue;
            }
            let what = format!("list {}s", kind.kind);
            let listed = match self
                .ask(kind.kind, &what, self.dynamic(kind).list(&parameters))
                .await
            {
                Ok(listed) => listed,
                // Not installed, or none of this user's business: then the run has none of it.
                Err(ClusterError::NoSuchKind { .. } | ClusterError::Forbidden { .. })
                    if !kind.is_built_in() =>
                {
                    continue;
                }
                Err(cause) => return Err(cause),
            };
            let names: Vec<String> = listed.items.iter().map(ResourceExt::name_any).collect();
            if !names.is_empty() {
                found.push((kind, names));
            }
        }
        if found.is_empty() {
            return Err(ClusterError::NoRun {
                run: run.to_string(),
                namespace: self.namespace.clone(),
            });
        }
        let rights: Vec<(&str, &ObjectKind)> = found.iter().map(|(kind, _)| ("delete", *kind)).collect();
        self.require(&rights).await?;
        let mut deleted = Vec::new();
        for (kind, names) in found {
            for name in names {
                if self.remove(kind, &name).await? {
                    deleted.push(Deleted {
                        kind: kind.kind.to_owned(),
                        name,
                    });
                }
            }
        }
        Ok(deleted)
    }

    /// Deletes an object after its pods. Returns whether it was there.
    async fn remove(&self, kind: &ObjectKind, name: &str) -> Result<bool, ClusterError> {
        let api = self.dynamic(kind);
        let what = format!("delete {} `{name}`", kind.kind);
        // A Secret has no pods, and must be gone for the next submission, which cannot look at it.
        let parameters = match kind.kind {
            SECRET => DeleteParams::background(),
            _ => DeleteParams::foreground(),
        };
        let request = async {
            match api.delete(name, &parameters).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
                other => other.map(|_| true),
            }
        };
        self.ask(kind.kind, &what, request).await
    }

    pub(super) async fn until_gone(
        &self,
        run: &RunName,
        kind: &ObjectKind,
        name: &str,
        grace: Duration,
    ) -> Result<(), ClusterError> {
        self.until_none(run, kind.kind, name, grace, &self.dynamic(kind))
            .await
    }

    async fn until_none<K>(
        &self,
        run: &RunName,
        kind: &str,
        name: &str,
        grace: Duration,
        api: &Api<K>,
    ) -> Result<(), ClusterError>
    where
        K: Clone + Debug + DeserializeOwned,
    {
        let begun = Instant::now();
        let longest = grace + EXTRA_WAIT;
        let what = format!("look for {kind} `{name}`");
        while self.ask(kind, &what, api.get_opt(name)).await?.is_some() {
            if begun.elapsed() > longest {
                return Err(ClusterError::StillThere {
                    what: format!("{kind} `{name}`"),
                    run: run.to_string(),
                    waited: longest,
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn change(&self, run: &RunName, change: &CoordinatorChange<'_>) -> Result<(), ClusterError> {
        let CoordinatorChange { replicas, end, .. } = change;
        let end = end.and_then(|end| serde_json::to_string(end).ok());
        let mut patch = json!({
            "metadata": {"annotations": {END_ANNOTATION: end}},
            "spec": {"replicas": replicas},
        });
        let mut container = json!({"name": COORDINATOR});
        if let Some(attempt) = change.attempt {
            container["env"] = json!([{"name": "ULDA_ATTEMPT", "value": attempt}]);
        }
        if let Some(image) = change.image {
            container["image"] = image.into();
        }
        if change.attempt.is_some() || change.image.is_some() {
            patch["spec"]["template"] = json!({"spec": {"containers": [container]}});
        }
        let name = run.coordinator();
        let api = self.api::<StatefulSet>();
        let what = format!("scale StatefulSet `{name}` to {replicas}");
        let patch = Patch::Strategic(patch);
        self.ask("StatefulSet", &what, api.patch(&name, &parameters(), &patch))
            .await?;
        Ok(())
    }

    async fn keep_record(&self, run: &RunName, record: &ObjectManifest) -> Result<(), ClusterError> {
        let name = record_name(run);
        let patch = Patch::Merge(json!({"data": {RECORD_KEY: record_text(record)}}));
        let api = self.api::<ConfigMap>();
        let what = format!("change ConfigMap `{name}`");
        self.ask("ConfigMap", &what, api.patch(&name, &parameters(), &patch))
            .await?;
        Ok(())
    }

    /// The image that the coordinator is changed to, if it is.
    async fn image_of_coordinator(
        &self,
        set: &StatefulSet,
        record: &ObjectManifest,
        images: &NewImages,
    ) -> Result<Option<String>, ClusterError> {
        let (None, Some(all)) = (&images.coordinator, &images.all) else {
            return Ok(images.coordinator.clone());
        };
        let set = serde_json::to_value(set).unwrap_or_default();
        let mut workers = image_in(&record.value);
        if let (None, Some(runtime)) = (&workers, ObjectKind::named(TRAINER, "TrainingRuntime")) {
            let api = self.dynamic(runtime);
            let what = format!("look for TrainingRuntime `{}`", record.name);
            let found = self
                .ask("TrainingRuntime", &what, api.get_opt(&record.name))
                .await?;
            workers = found.and_then(|found| image_in(&found.data));
        }
        Ok((image_in(&set) == workers).then(|| all.clone()))
    }

    /// What runs the workers, as it was submitted.
    async fn record_of(&self, run: &RunName) -> Result<ObjectManifest, ClusterError> {
        let name = record_name(run);
        let api = self.api::<ConfigMap>();
        let what = format!("look for ConfigMap `{name}`");
        let found = self.ask("ConfigMap", &what, api.get_opt(&name)).await?;
        let text = found.and_then(|map| map.data?.remove(RECORD_KEY));
        let value = text.and_then(|text| serde_json::from_str(&text).ok());
        value
            .map(ObjectManifest::custom)
            .ok_or_else(|| ClusterError::NotSubmitted { run: run.to_string() })
    }
}

/// How the run had ended when its coordinator was stopped.
pub(super) fn recorded_end(set: &StatefulSet) -> Option<RunEnd> {
    let stopped = set.spec.as_ref()?.replicas == Some(0);
    let text = set.annotations().get(END_ANNOTATION).filter(|_| stopped)?;
    serde_json::from_str(text).ok()
}

fn parameters() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    }
}

/// The same object with another image; a TrainJob overrides that of its runtime.
fn with_image(record: &ObjectManifest, image: &str) -> ObjectManifest {
    fn replace(value: &mut Value, image: &str) {
        match value {
            Value::Object(map) => {
                for (key, inner) in map {
                    match (key.as_str(), inner) {
                        ("containers", Value::Array(containers)) => {
                            for container in containers {
                                container["image"] = image.into();
                            }
                        }
                        (_, inner) => replace(inner, image),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| replace(item, image)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut value = record.value.clone();
    match record.kind.as_str() {
        "TrainJob" => value["spec"]["trainer"]["image"] = image.into(),
        _ => replace(&mut value, image),
    }
    ObjectManifest::custom(value)
}

/// The image of the first container anywhere in the object, or of a TrainJob.
fn image_in(value: &Value) -> Option<String> {
    let own = value.pointer("/spec/trainer/image").and_then(Value::as_str);
    own.map(ToOwned::to_owned).or_else(|| first_image(value))
}

fn first_image(value: &Value) -> Option<String> {
    match value {
        Value::Object(map) => {
            let container = map.get("containers").and_then(|containers| containers.get(0));
            let image = container.and_then(|container| container["image"].as_str());
            image
                .map(ToOwned::to_owned)
                .or_else(|| map.values().find_map(first_image))
        }
        Value::Array(items) => items.iter().find_map(first_image),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn kind_of_record(run: &RunName, record: &ObjectManifest) -> Result<&'static ObjectKind, ClusterError> {
    let (group, _) = record.group_version();
    ObjectKind::named(group, &record.kind).ok_or_else(|| ClusterError::NotSubmitted { run: run.to_string() })
}

/// The longest grace period that stands anywhere in the object.
fn grace_of(record: &ObjectManifest) -> Duration {
    fn longest(value: &serde_json::Value) -> Option<i64> {
        match value {
            serde_json::Value::Object(map) => map
                .iter()
                .filter_map(|(key, value)| match key.as_str() {
                    "terminationGracePeriodSeconds" => value.as_i64(),
                    _ => longest(value),
                })
                .max(),
            serde_json::Value::Array(items) => items.iter().filter_map(longest).max(),
            _ => None,
        }
    }
    let seconds = longest(&record.value).map_or(DEFAULT_GRACE, |seconds| u64::try_from(seconds).unwrap_or(0));
    Duration::from_secs(seconds)
}

/// Whether a Job, JobSet or TrainJob is being deleted, or says that it is through or will be.
fn leaves(object: &DynamicObject) -> bool {
    let conditions = object
        .data
        .pointer("/status/conditions")
        .and_then(serde_json::Value::as_array);
    let through = conditions.into_iter().flatten().any(|condition| {
        let name = condition["type"].as_str().unwrap_or_default();
        matches!(name, "Complete" | "Completed" | "Failed" | "FailureTarget") && condition["status"] == "True"
    });
    through || object.metadata.deletion_timestamp.is_some()
}
