//! What pods read as files: the run.toml and the run's credentials.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::metadata::metadata;
use super::pods::CONFIG_FILE;
use crate::manifest::ObjectManifest;
use crate::names::{COORDINATOR, RunName, WORKER};
use crate::submission::{Credentials, Files, Submission};

pub(super) fn config_map(submission: &Submission) -> ObjectManifest {
    ObjectManifest::typed(&ConfigMap {
        metadata: metadata(submission, submission.run.config(), COORDINATOR),
        data: Some(BTreeMap::from([(
            CONFIG_FILE.to_owned(),
            submission.config.clone(),
        )])),
        ..ConfigMap::default()
    })
}

/// Key of the worker's object within its record.
pub(crate) const RECORD_KEY: &str = "workers.json";

pub(crate) fn record_name(run: &RunName) -> String {
    format!("{run}-submitted")
}

/// The object as its record keeps it.
pub(crate) fn record_text(workers: &ObjectManifest) -> String {
    format!("{:#}\n", workers.value)
}

pub(super) fn record(submission: &Submission, workers: &ObjectManifest) -> ObjectManifest {
    ObjectManifest::typed(&ConfigMap {
        metadata: metadata(submission, record_name(&submission.run), COORDINATOR),
        data: Some(BTreeMap::from([(RECORD_KEY.to_owned(), record_text(workers))])),
        ..ConfigMap::default()
    })
}

pub(super) fn secrets(submission: &Submission) -> Vec<ObjectManifest> {
    let Credentials::Made { coordinator, workers } = &submission.credentials else {
        return Vec::new();
    };
    vec![
        secret(submission, COORDINATOR, coordinator),
        secret(submission, WORKER, workers),
    ]
}

fn secret(submission: &Submission, component: &str, files: &Files) -> ObjectManifest {
    let data = files
        .iter()
        .map(|(name, bytes)| (name.clone(), ByteString(bytes.clone())));
    ObjectManifest::typed(&Secret {
        metadata: metadata(submission, submission.run.credentials(component), component),
        data: Some(data.collect()),
        type_: Some("Opaque".into()),
        ..Secret::default()
    })
}
