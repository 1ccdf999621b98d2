//! Objects that the pods of a run name and that somebody else makes: claims, Secrets, ConfigMaps.
//!
//! A pod that names one that is missing waits for it without an end, so they are looked for before anything is created.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use serde_json::{Value, json};

use super::apply::{Earnest, SECRET};
use super::connect::Cluster;
use super::error::ClusterError;
use crate::manifest::ObjectManifest;
use crate::names::RunName;

const CLAIM: &str = "PersistentVolumeClaim";
const CONFIG_MAP: &str = "ConfigMap";

/// Kind and name.
type Needed = BTreeSet<(&'static str, String)>;

impl Cluster {
    /// Refuses where an object is missing. One that this user may not look for is taken to be there.
    ///
    /// # Errors
    /// Something is missing, or the API does not answer.
    pub(super) async fn refuse_what_pods_lack(
        &self,
        run: &RunName,
        manifests: &[ObjectManifest],
    ) -> Result<(), ClusterError> {
        let mut needed = Needed::new();
        for manifest in manifests {
            collect(&manifest.value, &mut needed);
        }
        let is_ours = |kind: &str, name: &str| {
            let mut all = manifests.iter();
            all.any(|manifest| manifest.kind == kind && manifest.name == name)
                || ["coordinator", "worker"]
                    .iter()
                    .any(|component| kind == SECRET && name == run.credentials(component))
        };
        let mut what = Vec::new();
        for (kind, name) in needed.iter().filter(|(kind, name)| !is_ours(kind, name)) {
            match self.has(run, kind, name).await {
                Ok(true) | Err(ClusterError::Forbidden { .. }) => {}
                Ok(false) => what.push(format!("{kind} `{name}`")),
                Err(cause) => return Err(cause),
            }
        }
        match what.is_empty() {
            true => Ok(()),
            false => Err(ClusterError::Missing {
                what,
                namespace: self.namespace.clone(),
            }),
        }
    }

    async fn has(&self, run: &RunName, kind: &str, name: &str) -> Result<bool, ClusterError> {
        let what = format!("look for {kind} `{name}`");
        match kind {
            CLAIM => {
                let api = self.api::<PersistentVolumeClaim>();
                Ok(self.ask(kind, &what, api.get_opt(name)).await?.is_some())
            }
            CONFIG_MAP => {
                let api = self.api::<ConfigMap>();
                Ok(self.ask(kind, &what, api.get_opt(name)).await?.is_some())
            }
            _ => {
                let secret = json!({"apiVersion": "v1", "kind": SECRET, "metadata": {"name": name}});
                match self
                    .create(run, &ObjectManifest::custom(secret), Earnest::DryRun)
                    .await
                {
                    Ok(()) => Ok(false),
                    // A webhook that cannot rehearse answers before anybody looks.
                    Err(ClusterError::MadeMeanwhile { .. } | ClusterError::Refused { .. }) => Ok(true),
                    Err(cause) => Err(cause),
                }
            }
        }
    }
}

/// What volumes, variables and image pulls name, wherever it stands in the object.
fn collect(value: &Value, needed: &mut Needed) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let reference = match key.as_str() {
                    "persistentVolumeClaim" => Some((CLAIM, "claimName")),
                    "secret" => Some((SECRET, "secretName")),
                    "secretRef" | "secretKeyRef" => Some((SECRET, "name")),
                    "configMap" | "configMapRef" | "configMapKeyRef" => Some((CONFIG_MAP, "name")),
                    _ => None,
                };
                if let Some((kind, field)) = reference
                    && inner["optional"] != true
                    // A projected volume says `name` for a Secret, too.
                    && let Some(name) = inner[field].as_str().or(inner["name"].as_str())
                {
                    needed.insert((kind, name.to_owned()));
                }
                if key == "imagePullSecrets" {
                    let names = inner.as_array().into_iter().flatten();
                    let names = names.filter_map(|secret| secret["name"].as_str());
                    needed.extend(names.map(|name| (SECRET, name.to_owned())));
                }
                collect(inner, needed);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, needed)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
