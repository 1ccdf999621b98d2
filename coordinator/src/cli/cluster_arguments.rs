//! What can be said of runs on Kubernetes.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use ulda_kubernetes::{DataClaim, Label, OutputKind, ResourceAmount, RunName, Subdomain};

use super::shared_arguments::{ConfigArguments, OutputFormat};

/// Which cluster, and where in it.
#[derive(Clone, Debug, Args)]
pub struct ClusterArguments {
    /// Namespace [default: that of the kubeconfig's context]
    #[arg(long, short, value_name = "NAME", env = "ULDA_NAMESPACE")]
    pub namespace: Option<Label>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", env = "ULDA_CONTEXT")]
    pub context: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WorkersAs {
    /// A Job with an index per worker; needs nothing installed
    IndexedJob,
    /// A JobSet
    Jobset,
    /// A Kubeflow TrainJob with a TrainingRuntime of its own
    Trainjob,
}

impl From<WorkersAs> for OutputKind {
    fn from(given: WorkersAs) -> Self {
        match given {
            WorkersAs::IndexedJob => Self::IndexedJob,
            WorkersAs::Jobset => Self::JobSet,
            WorkersAs::Trainjob => Self::TrainJob,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// Print the objects; no cluster is asked
    Client,
    /// Let the cluster check them
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ObjectFormat {
    Yaml,
    Json,
}

/// Who the processes of a pod are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodUser(pub Option<i64>);

impl FromStr for PodUser {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("any", _) => Ok(Self(None)),
            (_, Ok(user @ 1..=2_147_483_647)) => Ok(Self(Some(user))),
            _ => Err("give a number from 1 to 2147483647, or any".to_owned()),
        }
    }
}

/// A label of nodes, KEY=VALUE.
pub fn label_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give KEY=VALUE, such as node.kubernetes.io/instance-type=p5".to_owned()),
    }
}

#[derive(Clone, Debug, Args)]
pub struct SubmitArguments {
    /// Workers
    #[arg(long, value_name = "N", env = "ULDA_WORKERS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub workers: u32,
    /// Workers that share a pod, so that the GPUs of a node reach each other directly
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers_per_pod: u32,
    /// Image with `coordinator` and `worker`
    #[arg(long, value_name = "IMAGE", env = "ULDA_IMAGE")]
    pub image: String,
    #[command(flatten)]
    pub config: ConfigArguments,
    #[command(flatten)]
    pub cluster: ClusterArguments,
    /// Claim with data, read-only in all pods at PATH, by default /data; can be repeated. Relative paths of the
    /// run.toml start at the first one's
    #[arg(long = "data-claim", value_name = "CLAIM[:PATH]")]
    pub data_claims: Vec<DataClaim>,
    /// ReadWriteMany claim that receives checkpoints, models and report
    #[arg(long, value_name = "CLAIM")]
    pub run_claim: Option<Subdomain>,
    /// Secret whose keys are given to all pods as environment variables, such as AWS_ACCESS_KEY_ID
    #[arg(long, value_name = "SECRET")]
    pub s3_secret: Option<Subdomain>,
    /// Port of the object storage that pods may reach; can be repeated
    #[arg(long = "s3-port", value_name = "PORT", default_values_t = [443])]
    pub s3_ports: Vec<u16>,
    /// Service account of all pods, where a role of it opens the object storage; they get no token of the cluster
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<Subdomain>,
    /// GPUs of each worker: 0 or 1
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1))]
    pub gpus_per_worker: u32,
    /// Kind of GPU: a value of the node label nvidia.com/gpu.product, or LABEL=VALUE
    #[arg(long, value_name = "TYPE")]
    pub gpu_type: Option<String>,
    /// CPU of each worker
    #[arg(long, value_name = "CPU", default_value = "4")]
    pub cpus_per_worker: ResourceAmount,
    /// Memory of each worker
    #[arg(long, value_name = "MEMORY", default_value = "16Gi")]
    pub memory_per_worker: ResourceAmount,
    /// YAML file with settings of the pods, in the words of the chart's values.yaml: images by role, pull policy,
    /// tolerations, affinity, volumes and the like
    #[arg(long, value_name = "FILE")]
    pub pod_settings: Option<PathBuf>,
    /// Run workers on nodes with this label; can be repeated
    #[arg(long = "node-selector", value_name = "KEY=VALUE", value_parser = label_pair)]
    pub node_selectors: Vec<(String, String)>,
    /// Kueue's LocalQueue: workers start when it admits them
    #[arg(long, value_name = "QUEUE")]
    pub queue: Option<Label>,
    /// What runs the workers
    #[arg(long, value_name = "KIND", default_value = "indexed-job")]
    pub output_kind: WorkersAs,
    /// Size of the coordinator's volume
    #[arg(long, value_name = "SIZE", default_value = "5Gi")]
    pub state_size: ResourceAmount,
    /// Storage class of the coordinator's volume [default: the cluster's]
    #[arg(long, value_name = "CLASS")]
    pub storage_class: Option<Subdomain>,
    /// Secret to pull the image with
    #[arg(long, value_name = "SECRET")]
    pub pull_secret: Option<Subdomain>,
    /// User and group of all processes, who must be able to read the data; `any` is whom the cluster chooses, as on
    /// OpenShift
    #[arg(long, value_name = "UID", default_value = "10001")]
    pub user: PodUser,
    /// Namespace of Prometheus, which may then fetch the metrics
    #[arg(long, value_name = "NAME")]
    pub monitoring_namespace: Option<Label>,
    /// Create a PodMonitor for the Prometheus operator, instead of scrape annotations
    #[arg(long)]
    pub pod_monitor: bool,
    /// Do not follow the run
    #[arg(long)]
    pub detach: bool,
    /// Change nothing: `client` prints the objects, `server` lets the cluster check them
    #[arg(long, value_name = "WHERE", num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub dry_run: Option<DryRun>,
    /// Print the objects, or what became of them, as yaml or json
    #[arg(long, short, value_name = "FORMAT")]
    pub output: Option<ObjectFormat>,
}

#[derive(Debug, Subcommand)]
pub enum ClusterVerb {
    /// Show the runs in a namespace
    List(ClusterListArguments),
    /// Show how far a run is, what its pods are up to, and why
    Status(ClusterStatusArguments),
    /// Print what the coordinator of a run logs, or one of its workers
    Logs(ClusterLogsArguments),
    /// Follow a run to its end
    Follow(ClusterRunArguments),
    /// Let the workers leave after a checkpoint, then the coordinator; keeps everything that resuming needs, and how a
    /// run ended
    Stop(ClusterRunArguments),
    /// Continue a run that was stopped or failed
    Resume(ClusterResumeArguments),
    /// Delete what was submitted; data and results stay
    Delete(ClusterDeleteArguments),
}

#[derive(Clone, Debug, Args)]
pub struct ClusterListArguments {
    #[command(flatten)]
    pub cluster: ClusterArguments,
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

#[derive(Clone, Debug, Args)]
pub struct ClusterRunArguments {
    /// The run's name
    #[arg(value_name = "RUN")]
    pub run: RunName,
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

#[derive(Clone, Debug, Args)]
pub struct ClusterResumeArguments {
    #[command(flatten)]
    pub of: ClusterRunArguments,
    /// Image to continue with, of the workers and of a coordinator that has the same one
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Image of the coordinator alone
    #[arg(long, value_name = "IMAGE")]
    pub coordinator_image: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct ClusterStatusArguments {
    #[command(flatten)]
    pub of: ClusterRunArguments,
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

#[derive(Clone, Debug, Args)]
pub struct ClusterLogsArguments {
    #[command(flatten)]
    pub of: ClusterRunArguments,
    /// Go on printing as lines come
    #[arg(long, short)]
    pub follow: bool,
    /// The worker of this slot instead of the coordinator
    #[arg(long, value_name = "SLOT")]
    pub worker: Option<u32>,
    /// Only the last lines
    #[arg(long, value_name = "LINES", conflicts_with = "follow")]
    pub tail: Option<u32>,
}

#[derive(Clone, Debug, Args)]
pub struct ClusterDeleteArguments {
    #[command(flatten)]
    pub of: ClusterRunArguments,
    /// Also the coordinator's volume: journal and history of the run
    #[arg(long)]
    pub state: bool,
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}
