//! What is submitted: every choice made, every name checked. Rendering it cannot fail.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::amount::ResourceAmount;
use crate::names::{Label, NotAName, RunName, Subdomain};
use crate::settings::PodSettings;

/// What runs the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OutputKind {
    /// `batch/v1` Job with one index per worker; needs nothing installed.
    #[default]
    IndexedJob,
    /// `jobset.x-k8s.io/v1alpha2`.
    JobSet,
    /// `trainer.kubeflow.org/v1alpha1`, with a TrainingRuntime of its own.
    TrainJob,
}

impl OutputKind {
    /// Kind of the object that is suspended, stopped and deleted.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::IndexedJob => "Job",
            Self::JobSet => "JobSet",
            Self::TrainJob => "TrainJob",
        }
    }
}

/// A claim with data, mounted read-only in all pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataClaim {
    pub claim: Subdomain,
    pub path: PathBuf,
}

/// Where a claim is mounted whose path is not said.
pub const DATA_PATH: &str = "/data";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADataClaim {
    #[error("`{claim}` is not the name of a claim: {why}")]
    Name { claim: String, why: NotAName },
    #[error("`{path}` is not an absolute path; give CLAIM:PATH such as cityscapes:/data")]
    Path { path: String },
    #[error("`{path}` is where the pods keep their own files; give another path such as /data")]
    Taken { path: String },
}

impl FromStr for DataClaim {
    type Err = NotADataClaim;

    fn from_str(text: &str) -> Result<Self, NotADataClaim> {
        let (claim, path) = text.split_once(':').unwrap_or((text, DATA_PATH));
        let name = claim.parse().map_err(|why| NotADataClaim::Name {
            claim: claim.to_owned(),
            why,
        })?;
        let named = || path.to_owned();
        let plain = Path::new(path)
            .components()
            .all(|part| !matches!(part, std::path::Component::ParentDir));
        if !path.starts_with('/') || path == "/" || !plain {
            return Err(NotADataClaim::Path { path: named() });
        }
        if is_taken_path(Path::new(path)) {
            return Err(NotADataClaim::Taken { path: named() });
        }
        Ok(Self {
            claim: name,
            path: path.into(),
        })
    }
}

/// Whether pods have files of their own there, or below it.
pub(crate) fn is_taken_path(path: &Path) -> bool {
    let own = ["/var/lib/ulda", "/etc/ulda", "/tmp", "/dev", "/proc", "/sys"];
    own.iter()
        .any(|own| path.starts_with(own) || Path::new(own).starts_with(path))
}

impl fmt::Display for DataClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.claim, self.path.display())
    }
}

/// A GPU per worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuRequest {
    /// Extended resource, such as `nvidia.com/gpu`.
    pub resource: String,
    /// Label of the nodes that have the wanted type.
    pub node: Option<(String, String)>,
}

/// What the coordinator or one worker may use.
#[derive(Clone, Debug, PartialEq)]
pub struct PodResources {
    pub cpu: ResourceAmount,
    pub memory: ResourceAmount,
}

/// Where what the workers leave is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunStorage {
    /// A claim that all pods mount, ReadWriteMany.
    Shared(Subdomain),
    /// Object storage named in the run.toml; run folders of workers are scratch.
    Remote,
}

/// Who fetches the metrics.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Monitoring {
    /// Render a `monitoring.coreos.com/v1` PodMonitor.
    pub pod_monitor: bool,
    /// Namespace that may reach the metrics besides the run's own.
    pub namespace: Option<Label>,
}

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What coordinator and workers recognise each other by: a folder of files in the pods of each.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// In Secrets of the usual names, which somebody else makes.
    There,
    /// In Secrets that are rendered.
    Made { coordinator: Files, workers: Files },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::There => "There",
            Self::Made { .. } => "Made",
        })
    }
}

/// A run to submit.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    pub run: RunName,
    pub namespace: Option<Label>,
    pub workers: u32,
    /// Workers that share a pod, each with a GPU of its own; divides `workers`.
    pub workers_per_pod: u32,
    /// Of roles without one of their own.
    pub image: String,
    pub output: OutputKind,
    /// Kueue's LocalQueue; what runs the workers starts suspended.
    pub queue: Option<Label>,
    pub gpu: Option<GpuRequest>,
    pub worker: PodResources,
    pub coordinator: PodResources,
    pub state_size: ResourceAmount,
    pub storage_class: Option<Subdomain>,
    pub data: Vec<DataClaim>,
    pub storage: RunStorage,
    /// Secret whose keys become environment variables of all pods.
    pub s3_secret: Option<Subdomain>,
    /// Whether pods speak with object storage.
    pub object_storage: bool,
    /// Ports of it.
    pub egress_ports: Vec<u16>,
    /// By whose role pods may use the object storage.
    pub service_account: Option<Subdomain>,
    /// User and group of all processes, or whom the cluster chooses.
    pub user: Option<i64>,
    pub settings: PodSettings,
    pub monitoring: Monitoring,
    /// The run.toml.
    pub config: String,
    pub threads_per_shard: Option<u32>,
    /// `compute.device`, unless each worker decides for itself.
    pub device: Option<&'static str>,
    /// `deadline.drain` of the run.
    pub drain: Duration,
    pub credentials: Credentials,
}

impl Submission {
    /// Longest time a worker may need to leave: its step, its checkpoint, and some.
    #[must_use]
    pub fn worker_grace(&self) -> Duration {
        const CHECKPOINT: Duration = Duration::from_secs(60);
        self.drain + CHECKPOINT
    }

    /// Pods of workers.
    #[must_use]
    pub fn worker_pods(&self) -> u32 {
        self.workers / self.workers_per_pod
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_claims_are_read_or_explained() {
        let parse = |text: &str| text.parse::<DataClaim>().map_err(|cause| cause.to_string());
        assert_eq!(parse("city").unwrap().to_string(), "city at /data");
        assert_eq!(parse("city:/mnt/city").unwrap().to_string(), "city at /mnt/city");
        assert!(
            parse("City")
                .unwrap_err()
                .starts_with("`City` is not the name of a claim")
        );
        assert!(parse("city:data").unwrap_err().contains("not an absolute path"));
        assert!(
            parse("city:/data/../etc")
                .unwrap_err()
                .contains("not an absolute path")
        );
        assert!(parse("city:/var").unwrap_err().contains("keep their own files"));
    }

    #[test]
    fn credentials_are_not_printed() {
        let files = Files::from([("token".to_owned(), b"hush".to_vec())]);
        let secret = Credentials::Made {
            coordinator: files.clone(),
            workers: files,
        };
        assert_eq!(format!("{secret:?}"), "Made");
    }
}
