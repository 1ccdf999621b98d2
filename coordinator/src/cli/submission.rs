//! From the command line and a run.toml to a submission: everything that is wrong is told before a cluster is asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use ulda_credentials::{files, issue};
use ulda_files::MOST_CONFIGURATION_BYTES;
use ulda_kubernetes::{
    Credentials, DATA_PATH, Files, GpuRequest, Monitoring, NotAName, PodResources, PodSettings,
    PodSettingsError, RUNS_PATH, ResourceAmount, RunName, RunStorage, Submission,
};
use ulda_run::spec::{DeviceChoice, Host, RunConfig, RunSpec, is_url};

use super::cluster_arguments::SubmitArguments;
use super::common::configuration_below;
use super::train::enough_and_not_too_many;
use crate::check::of_problems;
use crate::config::LoadedConfig;
use crate::exit::{Stop, StopCause};

const GPU_RESOURCE: &str = "nvidia.com/gpu";
const OBJECTS: &str = "s3://";
const GPU_LABEL: &str = "nvidia.com/gpu.product";

/// Why a run cannot be submitted as it stands.
#[derive(Debug, thiserror::Error)]
enum SubmitError {
    #[error("`run.name` is `{name}`, which no pod can be named after: {why}")]
    Name { name: String, why: NotAName },
    #[error("`{key}` is `{}`, which no pod has", path.display())]
    NotMounted { key: String, path: PathBuf },
    #[error("--data-claim is given twice for {}", path.display())]
    SamePath { path: PathBuf },
    #[error("nothing keeps what the workers leave")]
    NoStorage,
    #[error("`storage.url` is `{url}`, which no pod has")]
    FolderUrl { url: String },
    #[error("`storage.cache` is `{}`, and pods have a folder of their own for what they fetch", path.display())]
    Cache { path: PathBuf },
    #[error("--gpu-type {given} without a GPU")]
    TypeOfNothing { given: String },
    #[error("`{image}` is no image's name")]
    Image { image: String },
    #[error("{workers} workers do not fill pods of {per_pod}")]
    UnevenPods { workers: u32, per_pod: u32 },
    #[error("{}: {cause}", path.display())]
    Settings { path: PathBuf, cause: PodSettingsError },
    #[error("--cpus-per-worker {cpus} is less than one core for each shard of a worker")]
    FewCores { cpus: ResourceAmount, need: u32 },
}

impl StopCause for SubmitError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Name { .. } => "give another with --set run.name=…".into(),
            Self::NotMounted { .. } => {
                "mount the claim that holds it with --data-claim CLAIM:PATH, and give the path below PATH"
                    .into()
            }
            Self::SamePath { .. } => {
                "give each claim a path of its own, as in --data-claim CLAIM:/data/more".into()
            }
            Self::NoStorage => "name a ReadWriteMany claim with --run-claim, or object storage with --set \
                 storage.url=s3://BUCKET/PREFIX"
                .into(),
            Self::FolderUrl { .. } => "name a claim with --run-claim, or give an s3:// URL".into(),
            Self::Cache { .. } => "leave it out".into(),
            Self::TypeOfNothing { .. } => "add --gpus-per-worker 1".into(),
            Self::UnevenPods { .. } => "--workers must be a multiple of --workers-per-pod".into(),
            Self::Settings { cause, .. } => return cause.hint(),
            Self::Image { .. } => "it looks like registry/ulda:1.0 or registry/ulda@sha256:…".into(),
            Self::FewCores { need, .. } => format!("give at least {need}"),
        })
    }
}

/// What the arguments come to.
pub fn submission(arguments: &SubmitArguments) -> Result<Submission, Stop> {
    let base = arguments
        .data_claims
        .first()
        .map_or_else(|| PathBuf::from(DATA_PATH), |claim| claim.path.clone());
    let LoadedConfig { mut config, places } = configuration_below(&arguments.config, Some(&base))?;
    let run: RunName = config.run.name.as_str().parse().map_err(|why| {
        Stop::bad_input(SubmitError::Name {
            name: config.run.name.to_string(),
            why,
        })
    })?;
    refuse_arguments(arguments)?;
    config.run.directory = RUNS_PATH.into();
    refuse_paths(arguments, &config)?;
    if let Some(path) = config.storage.cache {
        return Err(Stop::bad_input(SubmitError::Cache { path }));
    }
    let spec = RunSpec::resolve(config, host(arguments))
        .map_err(|problems| Stop::bad_input(of_problems(problems).placed(&places)))?;
    enough_and_not_too_many(arguments.workers, &spec.config().recovery)?;
    let storage = storage(arguments, spec.config())?;
    refuse_few_cores(arguments, &spec)?;
    let settings = settings(arguments)?;
    Ok(Submission {
        namespace: arguments.cluster.namespace.clone(),
        workers: arguments.workers,
        workers_per_pod: arguments.workers_per_pod,
        image: arguments.image.clone(),
        output: arguments.output_kind.into(),
        queue: arguments.queue.clone(),
        gpu: gpu(arguments, &settings),
        worker: PodResources {
            cpu: arguments.cpus_per_worker.clone(),
            memory: arguments.memory_per_worker.clone(),
        },
        coordinator: coordinator_resources(&settings),
        state_size: arguments.state_size.clone(),
        storage_class: arguments.storage_class.clone(),
        data: arguments.data_claims.clone(),
        storage,
        s3_secret: arguments.s3_secret.clone(),
        object_storage: arguments.s3_secret.is_some() || reaches_object_storage(spec.config()),
        egress_ports: egress_ports(arguments, spec.config()),
        service_account: arguments.service_account.clone(),
        user: arguments.user.0,
        settings,
        monitoring: Monitoring {
            pod_monitor: arguments.pod_monitor,
            namespace: arguments.monitoring_namespace.clone(),
        },
        drain: Duration::from_secs_f64(spec.config().deadline.drain.ceil()),
        threads_per_shard: Some(spec.threads_per_shard()),
        device: Some(spec.config().compute.device)
            .filter(|device| *device != DeviceChoice::Auto)
            .map(DeviceChoice::name),
        config: format!(
            "# Submitted by `coordinator submit`; paths are those in the pods.\n{}",
            spec.to_toml()
        ),
        credentials: credentials(&run)?,
        run,
    })
}

/// Token and certificates of the run, those of each side for its pods only.
fn credentials(run: &RunName) -> Result<Credentials, Stop> {
    let made = issue::new_files(&[run.coordinator_host()])?;
    let of = |names: [&str; 4]| -> Files {
        let wanted = made.iter().filter(|file| names.contains(&file.name));
        wanted
            .map(|file| (file.name.to_owned(), file.content.clone().into_bytes()))
            .collect()
    };
    Ok(Credentials::Made {
        coordinator: of(files::OF_COORDINATOR),
        workers: of(files::OF_WORKERS),
    })
}

/// Those of the file, with what arguments add to them.
fn settings(arguments: &SubmitArguments) -> Result<PodSettings, Stop> {
    let mut settings = match &arguments.pod_settings {
        None => PodSettings::default(),
        Some(path) => {
            let text = ulda_files::read_text(path, MOST_CONFIGURATION_BYTES)
                .map_err(|cause| Stop::bad_input(anyhow!("cannot read {}: {cause}", path.display())))?;
            PodSettings::parse(&text).map_err(|cause| {
                Stop::bad_input(SubmitError::Settings {
                    path: path.clone(),
                    cause,
                })
            })?
        }
    };
    let secret = arguments.pull_secret.iter();
    let new = secret.filter(|secret| !settings.pull_secrets.contains(secret));
    let new: Vec<_> = new.cloned().collect();
    settings.pull_secrets.extend(new);
    let selectors = arguments.node_selectors.iter().cloned();
    settings.workers.node_selector.extend(selectors);
    Ok(settings)
}

fn coordinator_resources(settings: &PodSettings) -> PodResources {
    let amount = |text: &str| text.parse().expect("it is a quantity");
    let PodSettings { coordinator, .. } = settings;
    PodResources {
        cpu: coordinator.cpu.clone().unwrap_or_else(|| amount("500m")),
        memory: coordinator.memory.clone().unwrap_or_else(|| amount("1Gi")),
    }
}

/// All workers together are the host that threads are counted on.
fn host(arguments: &SubmitArguments) -> Host {
    let cores = arguments.cpus_per_worker.value() * f64::from(arguments.workers);
    Host {
        workers: arguments.workers,
        cores: (cores as u32).max(1),
    }
}

fn gpu(arguments: &SubmitArguments, settings: &PodSettings) -> Option<GpuRequest> {
    let node = arguments
        .gpu_type
        .as_ref()
        .map(|given| match given.split_once('=') {
            Some((label, value)) => (label.to_owned(), value.to_owned()),
            None => (GPU_LABEL.to_owned(), given.clone()),
        });
    (arguments.gpus_per_worker > 0).then(|| GpuRequest {
        resource: settings
            .gpu_resource
            .clone()
            .unwrap_or_else(|| GPU_RESOURCE.to_owned()),
        node,
    })
}

fn storage(arguments: &SubmitArguments, config: &RunConfig) -> Result<RunStorage, Stop> {
    match (&arguments.run_claim, &config.storage.url) {
        (_, Some(url)) if !url.starts_with(OBJECTS) => {
            Err(Stop::bad_input(SubmitError::FolderUrl { url: url.clone() }))
        }
        (Some(claim), _) => Ok(RunStorage::Shared(claim.clone())),
        (None, Some(_)) => Ok(RunStorage::Remote),
        (None, None) => Err(Stop::bad_input(SubmitError::NoStorage)),
    }
}

/// Those that were given, and that of the endpoint.
fn egress_ports(arguments: &SubmitArguments, config: &RunConfig) -> Vec<u16> {
    let mut ports = arguments.s3_ports.clone();
    let endpoint = config.storage.endpoint.as_ref();
    let address = endpoint.and_then(|endpoint| endpoint.parse::<axum::http::Uri>().ok());
    let port = address.and_then(|address| {
        let usual = if address.scheme_str() == Some("http") {
            80
        } else {
            443
        };
        Some(address.authority()?.port_u16().unwrap_or(usual))
    });
    ports.extend(port.filter(|port| !arguments.s3_ports.contains(port)));
    ports
}

fn reaches_object_storage(config: &RunConfig) -> bool {
    let urls = config.storage.url.iter().map(Path::new);
    let inputs = inputs(config);
    urls.chain(inputs.iter().map(|(_, path)| path.as_path()))
        .any(|url| url.to_string_lossy().starts_with(OBJECTS))
}

/// Paths and URLs of what the run reads, by key.
fn inputs(config: &RunConfig) -> Vec<(String, PathBuf)> {
    let mut config = config.clone();
    let inputs = config.inputs_mut().into_iter();
    inputs.map(|(key, path)| (key, path.clone())).collect()
}

pub(super) fn refuse_no_image(image: &str) -> Result<(), Stop> {
    let is_none = image.is_empty() || image.contains(char::is_whitespace) || image.contains("://");
    match is_none {
        true => Err(Stop::bad_input(SubmitError::Image {
            image: image.to_owned(),
        })),
        false => Ok(()),
    }
}

fn refuse_arguments(arguments: &SubmitArguments) -> Result<(), Stop> {
    refuse_no_image(&arguments.image)?;
    let (workers, per_pod) = (arguments.workers, arguments.workers_per_pod);
    if !workers.is_multiple_of(per_pod) {
        return Err(Stop::bad_input(SubmitError::UnevenPods { workers, per_pod }));
    }
    if let (Some(given), 0) = (&arguments.gpu_type, arguments.gpus_per_worker) {
        return Err(Stop::bad_input(SubmitError::TypeOfNothing {
            given: given.clone(),
        }));
    }
    let claims = &arguments.data_claims;
    for (index, claim) in claims.iter().enumerate() {
        if claims[..index].iter().any(|earlier| earlier.path == claim.path) {
            return Err(Stop::bad_input(SubmitError::SamePath {
                path: claim.path.clone(),
            }));
        }
    }
    Ok(())
}

/// Every file that the run reads must lie in a volume of the pods.
fn refuse_paths(arguments: &SubmitArguments, config: &RunConfig) -> Result<(), Stop> {
    let here = |path: &Path| match path.to_str().and_then(|text| text.strip_prefix("file://")) {
        Some(path) => PathBuf::from(path),
        None => path.to_owned(),
    };
    // Objects need no volume, and a path that is not given is told by the configuration's own rules.
    let elsewhere = |path: &Path| path.as_os_str().is_empty() || is_url(path);
    let mounted = |path: &Path| {
        arguments
            .data_claims
            .iter()
            .any(|claim| path.starts_with(&claim.path))
    };
    let lost = inputs(config)
        .into_iter()
        .map(|(key, path)| (key, here(&path)))
        .find(|(_, path)| !elsewhere(path) && !mounted(path));
    match lost {
        Some((key, path)) => Err(Stop::bad_input(SubmitError::NotMounted { key, path })),
        None => Ok(()),
    }
}

fn refuse_few_cores(arguments: &SubmitArguments, spec: &RunSpec) -> Result<(), Stop> {
    if arguments.gpus_per_worker > 0 {
        return Ok(());
    }
    let shards_each = spec.shards().div_ceil(arguments.workers);
    let need = shards_each * spec.threads_per_shard();
    if arguments.cpus_per_worker.value() + 1e-9 < f64::from(need) {
        return Err(Stop::bad_input(SubmitError::FewCores {
            cpus: arguments.cpus_per_worker.clone(),
            need,
        }));
    }
    Ok(())
}
