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
use serde_json::json;
use tokio::time::Instant;

use super::connect::{Cluster, KINDS, ObjectKind, STATEFUL_SET};
use super::error::ClusterError;
use crate::manifest::ObjectManifest;
use crate::names::{COORDINATOR, FIELD_MANAGER, RunName};
use crate::render::{RECORD_KEY, record_name};

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

impl Cluster {
    /// Lets workers leave, each after its step and a checkpoint, then the coordinator.
    ///
    /// # Errors
    /// No such run, a right that is missing (then nothing is changed), pods that do not leave, or the API refuses.
    pub async fn stop(&self, run: &RunName) -> Result<(), ClusterError> {
        self.coordinator_of(run).await?;
        let record = self.record_of(run).await?;
        let kind = kind_of_record(run, &record)?;
        let grace = grace_of(&record);
        self.require(&[("delete", kind), ("patch", &STATEFUL_SET)])
            .await?;
        self.remove(kind, &record.name).await?;
        self.until_gone(run, kind, &record.name, grace).await?;
        self.scale(run, 0, None).await
    }

    /// Starts coordinator and workers again; a run that failed is tried once more, under the name of `attempt`.
    ///
    /// # Errors
    /// No such run, one that was not submitted by this program, or the API refuses.
    pub async fn resume(&self, run: &RunName, attempt: &str) -> Result<(), ClusterError> {
        self.coordinator_of(run).await?;
        let record = self.record_of(run).await?;
        let kind = kind_of_record(run, &record)?;
        // What has ended cannot be started again; what still runs is left alone.
        let api = self.dynamic(kind);
        let what = format!("look for {} `{}`", record.kind, record.name);
        let found = self.ask(&record.kind, &what, api.get_opt(&record.name)).await?;
        let runs = found.as_ref().is_some_and(|found| !leaves(found));
        let mut rights = vec![("patch", &STATEFUL_SET)];
        if !runs {
            rights.extend([("delete", kind), ("create", kind)]);
        }
        self.require(&rights).await?;
        if found.is_some() && !runs {
            self.remove(kind, &record.name).await?;
            self.until_gone(run, kind, &record.name, grace_of(&record))
                .await?;
        }
        // The last try's coordinator still tells how that one ended, to whoever follows the run.
        self.scale(run, 0, None).await?;
        let pod = run.coordinator_pod();
        let grace = Duration::from_secs(DEFAULT_GRACE);
        self.until_none(run, "Pod", &pod, grace, &self.api::<Pod>())
            .await?;
        self.scale(run, 1, Some(attempt)).await?;
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
        let mut found = Vec::new();
        for kind in &KINDS {
            if kind.kind == "PersistentVolumeClaim" && state == StateVolume::Keep {
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
                self.remove(kind, &name).await?;
                deleted.push(Deleted {
                    kind: kind.kind.to_owned(),
                    name,
                });
            }
        }
        Ok(deleted)
    }

    /// Deletes an object after its pods; one that is not there is gone.
    async fn remove(&self, kind: &ObjectKind, name: &str) -> Result<(), ClusterError> {
        let api = self.dynamic(kind);
        let what = format!("delete {} `{name}`", kind.kind);
        let parameters = DeleteParams::foreground();
        let request = async {
            match api.delete(name, &parameters).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                other => other.map(|_| ()),
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

    async fn scale(&self, run: &RunName, replicas: i32, attempt: Option<&str>) -> Result<(), ClusterError> {
        let mut patch = json!({"spec": {"replicas": replicas}});
        if let Some(attempt) = attempt {
            patch["spec"]["template"] = json!({"spec": {"containers": [{
                "name": COORDINATOR,
                "env": [{"name": "ULDA_ATTEMPT", "value": attempt}],
            }]}});
        }
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let name = run.coordinator();
        let api = self.api::<StatefulSet>();
        let what = format!("scale StatefulSet `{name}` to {replicas}");
        self.ask(
            "StatefulSet",
            &what,
            api.patch(&name, &parameters, &Patch::Strategic(patch)),
        )
        .await?;
        Ok(())
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
