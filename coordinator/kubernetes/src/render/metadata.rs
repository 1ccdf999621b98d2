//! Names, labels and selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::names::{COMPONENT_LABEL, FIELD_MANAGER, INSTANCE_LABEL, MANAGED_BY_LABEL, NAME, NAME_LABEL};
use crate::submission::Submission;

pub(super) type Labels = BTreeMap<String, String>;

fn pairs(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// What selects all pods of the run.
pub(super) fn of_run(submission: &Submission) -> Labels {
    pairs(&[(NAME_LABEL, NAME), (INSTANCE_LABEL, submission.run.as_str())])
}

/// What selects the pods of one component.
pub(super) fn of(submission: &Submission, component: &str) -> Labels {
    let mut labels = of_run(submission);
    labels.insert(COMPONENT_LABEL.into(), component.into());
    labels
}

/// What an object of one component carries.
pub(super) fn all(submission: &Submission, component: &str) -> Labels {
    let mut labels = of(submission, component);
    labels.insert(MANAGED_BY_LABEL.into(), FIELD_MANAGER.into());
    labels
}

pub(super) fn selector(labels: Labels) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

pub(super) fn metadata(submission: &Submission, name: String, component: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: submission.namespace.as_ref().map(ToString::to_string),
        labels: Some(all(submission, component)),
        ..ObjectMeta::default()
    }
}
