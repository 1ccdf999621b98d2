//! Settings of the pods that have nothing to do with the run, in the words of the chart's values.yaml.
//!
//! [`PodSettings::parse`] checks everything that can be checked without a cluster, and names the key that is wrong.

mod read;
mod rules;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};

use crate::amount::ResourceAmount;
use crate::names::Subdomain;

/// Why a file of pod settings is refused. Keys are paths, such as `workers.tolerations[0].key`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PodSettingsError {
    #[error("it is not YAML: {reason}")]
    Syntax { reason: String },
    #[error("`{key}` is no pod setting")]
    Unknown { key: String },
    #[error("`{key}` is not set in this file")]
    Elsewhere { key: String, place: &'static str },
    #[error("`{key}`: {why}")]
    Wrong { key: String, why: String },
}

impl PodSettingsError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => Some(
                "the words are those of the chart's values.yaml and of a pod's spec; docs/operate.md lists them"
                    .to_owned(),
            ),
            Self::Elsewhere { place, .. } => Some(format!("use {place}")),
            Self::Syntax { .. } | Self::Wrong { .. } => None,
        }
    }
}

/// When a node pulls an image anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// An image of one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleImage {
    /// With its tag or digest.
    pub name: String,
    pub pull_policy: Option<PullPolicy>,
}

/// Settings of one role's pods. Sizes are those of one worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoleSettings {
    /// An image of its own.
    pub image: Option<RoleImage>,
    /// Of the coordinator; the workers' is an argument.
    pub cpu: Option<ResourceAmount>,
    /// Of the coordinator; the workers' is an argument.
    pub memory: Option<ResourceAmount>,
    /// Requested of the node's disk, and the most that is used of it.
    pub ephemeral_storage: Option<ResourceAmount>,
    /// Size of `/dev/shm`, of workers.
    pub shm: Option<ResourceAmount>,
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<Toleration>,
    pub affinity: Option<Affinity>,
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    pub priority_class_name: Option<Subdomain>,
    pub env: Vec<EnvVar>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub volumes: Vec<Volume>,
    pub volume_mounts: Vec<VolumeMount>,
}

/// Settings of all pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodSettings {
    /// Of the image that roles without one of their own use.
    pub pull_policy: Option<PullPolicy>,
    /// Secrets to pull images with.
    pub pull_secrets: Vec<Subdomain>,
    /// Extended resource that a GPU is requested as, if it is not `nvidia.com/gpu`.
    pub gpu_resource: Option<String>,
    pub workers: RoleSettings,
    pub coordinator: RoleSettings,
}
