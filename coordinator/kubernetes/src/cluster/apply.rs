//! Creates what is missing of a run. What is there already is left as it is, if it is the same submission.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DynamicObject, PostParams};
use tokio::time::Instant;

use super::connect::{Cluster, ObjectKind};
use super::error::ClusterError;
use crate::manifest::ObjectManifest;
use crate::names::{DIGEST_ANNOTATION, FIELD_MANAGER, INSTANCE_LABEL, NAME, NAME_LABEL, RunName};

/// Longest grace of anything of an earlier run of this name that is being deleted.
const LEAVING: Duration = Duration::from_secs(120);

/// Longest time in which Trainer may not know yet of a runtime that is there.
const RUNTIME_KNOWN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What became of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    Created,
    /// It was there already, of the same submission.
    There,
}

/// One object and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub kind: String,
    pub name: String,
    pub outcome: ApplyOutcome,
}

pub(super) const SECRET: &str = "Secret";

/// Whether the server only says what it would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earnest {
    Apply,
    DryRun,
}

impl Cluster {
    /// Creates the objects of a run in their order. Nothing is created when one of them is in the way.
    ///
    /// # Errors
    /// An object of that name is another's or of another submission, or the cluster refuses.
    pub async fn apply(
        &self,
        run: &RunName,
        manifests: &[ObjectManifest],
        earnest: Earnest,
    ) -> Result<Vec<Applied>, ClusterError> {
        let mut there = Vec::with_capacity(manifests.len());
        for manifest in manifests {
            there.push(match manifest.kind.as_str() {
                SECRET => self.is_taken(run, manifest).await?,
                _ => self.is_there(run, manifest).await?,
            });
        }
        self.refuse_secrets_of_others(run, manifests, &there).await?;
        refuse_half_the_secrets(run, manifests, &there)?;
        if there.contains(&false) {
            self.refuse_what_pods_lack(run, manifests).await?;
        }
        // All are tried before the first one is created, so that a refusal leaves nothing half done.
        for (manifest, there) in manifests.iter().zip(&there) {
            // Its webhook refuses a TrainJob whose runtime is not there yet in earnest.
            if !there && manifest.kind != "TrainJob" {
                self.rehearse(run, manifest).await?;
            }
        }
        let mut applied = Vec::with_capacity(manifests.len());
        for (manifest, there) in manifests.iter().zip(there) {
            let outcome = if there {
                ApplyOutcome::There
            } else {
                ApplyOutcome::Created
            };
            if !there && earnest == Earnest::Apply {
                self.create_once_known(run, manifest).await?;
            }
            applied.push(Applied {
                kind: manifest.kind.clone(),
                name: manifest.name.clone(),
                outcome,
            });
        }
        Ok(applied)
    }

    /// Whether there is a Secret of that name. It is not read: whoever submits needs no right to read Secrets.
    async fn is_taken(&self, run: &RunName, secret: &ObjectManifest) -> Result<bool, ClusterError> {
        match self.rehearse(run, secret).await {
            Ok(()) => Ok(false),
            Err(ClusterError::MadeMeanwhile { .. }) => Ok(true),
            Err(cause) => Err(cause),
        }
    }

    /// Secrets of a run are there only with its configuration, which tells whose they are.
    async fn refuse_secrets_of_others(
        &self,
        run: &RunName,
        manifests: &[ObjectManifest],
        there: &[bool],
    ) -> Result<(), ClusterError> {
        let is_there = |kind: &str| {
            let mut all = manifests.iter().zip(there);
            all.find(|(manifest, there)| manifest.kind == kind && **there)
                .map(|(manifest, _)| manifest)
        };
        let (None, Some(secret)) = (is_there("ConfigMap"), is_there(SECRET)) else {
            return Ok(());
        };
        let config = run.config();
        let what = format!("look for ConfigMap `{config}`");
        let request = self.api::<ConfigMap>();
        let found = self.ask("ConfigMap", &what, request.get_opt(&config)).await?;
        let (kind, name) = (secret.kind.clone(), secret.name.clone());
        Err(match found {
            Some(_) => ClusterError::MadeMeanwhile {
                run: run.to_string(),
                kind,
                name,
            },
            None => ClusterError::Foreign { kind, name },
        })
    }

    /// Whether the object is there, of this very submission.
    async fn is_there(&self, run: &RunName, manifest: &ObjectManifest) -> Result<bool, ClusterError> {
        let ObjectManifest { kind, name, .. } = manifest;
        let api = self.dynamic(kind_of(manifest)?);
        let what = format!("look for {kind} `{name}`");
        let Some(found) = self.ask(kind, &what, api.get_opt(name)).await? else {
            return Ok(false);
        };
        let labels = found.labels();
        let ours = labels.get(NAME_LABEL).is_some_and(|held| held == NAME)
            && labels
                .get(INSTANCE_LABEL)
                .is_some_and(|held| held == run.as_str());
        if !ours {
            return Err(ClusterError::Foreign {
                kind: kind.clone(),
                name: name.clone(),
            });
        }
        if found.metadata.deletion_timestamp.is_some() {
            self.until_gone(run, kind_of(manifest)?, name, LEAVING).await?;
            return Ok(false);
        }
        let wanted = manifest.value["metadata"]["annotations"][DIGEST_ANNOTATION].as_str();
        if found.annotations().get(DIGEST_ANNOTATION).map(String::as_str) != wanted {
            return Err(ClusterError::Differs { run: run.to_string() });
        }
        Ok(true)
    }

    /// Asks the server whether it would create the object.
    async fn rehearse(&self, run: &RunName, manifest: &ObjectManifest) -> Result<(), ClusterError> {
        match self.create(run, manifest, Earnest::DryRun).await {
            // A webhook that cannot rehearse is asked in earnest.
            Err(ClusterError::Refused { reasons, .. })
                if reasons.iter().any(|why| why.contains("dry run")) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Creates the object; a TrainJob once Trainer's webhook, which looks into a cache, knows of the runtime that was made just before.
    pub(super) async fn create_once_known(
        &self,
        run: &RunName,
        manifest: &ObjectManifest,
    ) -> Result<(), ClusterError> {
        let begun = Instant::now();
        loop {
            match self.create(run, manifest, Earnest::Apply).await {
                Err(ClusterError::Refused { reasons, .. })
                    if manifest.kind == "TrainJob"
                        && begun.elapsed() < RUNTIME_KNOWN
                        && reasons.iter().any(|why| speaks_of_a_missing_runtime(why)) =>
                {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Creates the object, or fails where there is one of that name: of two commands at once, one creates the run.
    pub(super) async fn create(
        &self,
        run: &RunName,
        manifest: &ObjectManifest,
        earnest: Earnest,
    ) -> Result<(), ClusterError> {
        let ObjectManifest { kind, name, .. } = manifest;
        let what = format!("create {kind} `{name}`");
        let wrong = |reason: String| ClusterError::Other {
            what: what.clone(),
            reason,
        };
        let body = serde_json::to_vec(&manifest.value).map_err(|cause| wrong(cause.to_string()))?;
        let parameters = PostParams {
            dry_run: earnest == Earnest::DryRun,
            field_manager: Some(FIELD_MANAGER.into()),
        };
        let url = self.dynamic(kind_of(manifest)?).resource_url().to_owned();
        let mut request = kube::core::Request::new(url)
            .create(&parameters, body)
            .map_err(|cause| wrong(cause.to_string()))?;
        // A field that the server does not know is an error, not dropped. `PostParams` cannot say so.
        *request.uri_mut() = format!("{}&fieldValidation=Strict", request.uri())
            .parse()
            .map_err(|cause| wrong(format!("{cause}")))?;
        let request = async {
            match self.client.request::<DynamicObject>(request).await {
                Ok(_) => Ok(true),
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(false),
                Err(cause) => Err(cause),
            }
        };
        match self.ask(kind, &what, request).await? {
            true => Ok(()),
            false => Err(ClusterError::MadeMeanwhile {
                run: run.to_string(),
                kind: kind.clone(),
                name: name.clone(),
            }),
        }
    }
}

fn speaks_of_a_missing_runtime(why: &str) -> bool {
    let why = why.to_ascii_lowercase();
    why.contains("trainingruntime") && (why.contains("not found") || why.contains("must be created before"))
}

/// The Secrets of a run are drawn together; one alone is of another draw, and fits no other.
fn refuse_half_the_secrets(
    run: &RunName,
    manifests: &[ObjectManifest],
    there: &[bool],
) -> Result<(), ClusterError> {
    let mut secrets = manifests
        .iter()
        .zip(there)
        .filter(|(manifest, _)| manifest.kind == "Secret")
        .map(|(_, there)| *there);
    let first = secrets.next();
    match secrets.all(|there| Some(there) == first) {
        true => Ok(()),
        false => Err(ClusterError::HalfSecrets { run: run.to_string() }),
    }
}

pub(super) fn kind_of(manifest: &ObjectManifest) -> Result<&'static ObjectKind, ClusterError> {
    ObjectKind::of(manifest).ok_or_else(|| ClusterError::NoSuchKind {
        kind: manifest.kind.clone(),
    })
}
