//! What the pods of coordinator and workers have in common: rights, volumes, environment.
//!
//! Every pod meets the Pod Security Standard "restricted", has a read-only root and no token of the cluster.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvFromSource,
    EnvVar, HTTPGetAction, LocalObjectReference, PersistentVolumeClaimVolumeSource, PodSecurityContext,
    PodSpec, Probe, ResourceRequirements, SeccompProfile, SecretEnvSource, SecretVolumeSource,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata::all;
use crate::amount::ResourceAmount;
use crate::names::WORKER;
use crate::settings::RoleSettings;
use crate::submission::{GpuRequest, PodResources, RunStorage, Submission};

/// Folder of run directories, in all pods.
pub const RUNS_PATH: &str = "/var/lib/ulda/runs";
pub(super) const HOME_PATH: &str = "/var/lib/ulda";
pub(super) const STATE_PATH: &str = "/var/lib/ulda/state";
pub(super) const CONFIG_PATH: &str = "/etc/ulda/config";
pub(super) const CONFIG_FILE: &str = "run.toml";
pub(super) const CREDENTIALS_PATH: &str = "/etc/ulda/credentials";

pub(super) const CONTROL: (&str, i32) = ("control", 7070);
pub(super) const DATA: (&str, i32) = ("data", 7071);
pub(super) const HTTP: (&str, i32) = ("http", 9464);
pub(super) const METRICS: (&str, i32) = ("metrics", 9465);

pub(super) const PROBE_SECONDS: i32 = 10;

const RUNS_VOLUME: &str = "runs";
const SCRATCH_VOLUME: &str = "tmp";

/// A volume with the place where it is mounted.
pub(super) struct Mounted {
    pub volume: Option<Volume>,
    pub mount: VolumeMount,
}

pub(super) fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn mounted(name: &str, path: &str, read_only: bool, source: Volume) -> Mounted {
    Mounted {
        volume: Some(Volume {
            name: name.into(),
            ..source
        }),
        mount: mount(name, path, read_only),
    }
}

fn claim(name: &str, read_only: bool) -> Volume {
    Volume {
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: name.into(),
            read_only: read_only.then_some(true),
        }),
        ..Volume::default()
    }
}

pub(super) fn scratch(name: &str, path: &str) -> Mounted {
    let source = Volume {
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    mounted(name, path, false, source)
}

/// Shared memory; the runtime's own is 64 MiB.
pub(super) fn shared_memory(limit: &ResourceAmount) -> Mounted {
    let source = Volume {
        empty_dir: Some(EmptyDirVolumeSource {
            medium: Some("Memory".into()),
            size_limit: Some(Quantity(limit.to_string())),
        }),
        ..Volume::default()
    };
    mounted("shm", "/dev/shm", false, source)
}

pub(super) fn config(submission: &Submission) -> Mounted {
    let source = Volume {
        config_map: Some(ConfigMapVolumeSource {
            name: submission.run.config(),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    mounted("config", CONFIG_PATH, true, source)
}

/// What the pods of every component mount: data, its credentials, a place for temporary files.
pub(super) fn common(submission: &Submission, component: &str) -> Vec<Mounted> {
    let mut all = vec![scratch(SCRATCH_VOLUME, "/tmp")];
    for (index, data) in submission.data.iter().enumerate() {
        let path = data.path.to_string_lossy();
        all.push(mounted(
            &format!("data-{index}"),
            &path,
            true,
            claim(data.claim.as_str(), true),
        ));
    }
    let secret = Volume {
        secret: Some(SecretVolumeSource {
            secret_name: Some(submission.run.credentials(component)),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    all.push(mounted("credentials", CREDENTIALS_PATH, true, secret));
    all
}

/// The run directories that all pods share; nothing where they are kept elsewhere.
pub(super) fn shared_runs(submission: &Submission) -> Option<Mounted> {
    match &submission.storage {
        RunStorage::Shared(name) => Some(mounted(
            RUNS_VOLUME,
            RUNS_PATH,
            false,
            claim(name.as_str(), false),
        )),
        RunStorage::Remote => None,
    }
}

/// Run directories of a worker: shared, or its own for as long as it lives.
pub(super) fn worker_runs(submission: &Submission) -> Mounted {
    shared_runs(submission).unwrap_or_else(|| scratch(RUNS_VOLUME, RUNS_PATH))
}

/// Environment of every container, which tells where its credentials lie.
pub(super) fn environment() -> Vec<EnvVar> {
    vec![
        variable("HOME", "/tmp"),
        variable("ULDA_CREDENTIALS", CREDENTIALS_PATH),
    ]
}

pub(super) fn variable(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.into(),
        value: Some(value.into()),
        ..EnvVar::default()
    }
}

/// Access to object storage.
pub(super) fn env_from(submission: &Submission) -> Option<Vec<EnvFromSource>> {
    let secret = submission.s3_secret.as_ref()?;
    Some(vec![EnvFromSource {
        secret_ref: Some(SecretEnvSource {
            name: secret.to_string(),
            ..SecretEnvSource::default()
        }),
        ..EnvFromSource::default()
    }])
}

pub(super) fn port((name, port): (&str, i32)) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        container_port: port,
        ..ContainerPort::default()
    }
}

/// What makes a Prometheus that goes by annotations fetch the metrics of a pod. A PodMonitor does so instead of
/// annotations, so that nothing is scraped twice. Annotations of the settings come first.
fn annotations(submission: &Submission, component: &str, port: i32) -> Option<BTreeMap<String, String>> {
    let annotations = [
        ("prometheus.io/scrape", "true".to_owned()),
        ("prometheus.io/port", port.to_string()),
        ("prometheus.io/path", "/metrics".to_owned()),
    ];
    let mut all = BTreeMap::new();
    if !submission.monitoring.pod_monitor {
        all.extend(annotations.map(|(key, value)| (key.to_owned(), value)));
    }
    all.extend(settings_of(submission, component).annotations.clone());
    (!all.is_empty()).then_some(all)
}

/// What the pods of a component carry, which show their metrics on `port`.
pub(super) fn pod_metadata(submission: &Submission, component: &str, port: i32) -> ObjectMeta {
    let mut labels = settings_of(submission, component).labels.clone();
    labels.extend(all(submission, component));
    ObjectMeta {
        labels: Some(labels),
        annotations: annotations(submission, component, port),
        ..ObjectMeta::default()
    }
}

/// A probe that fails after so many times in a row.
pub(super) fn healthy(port: &str, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/healthz".into()),
            port: IntOrString::String(port.into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(PROBE_SECONDS),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

/// What a container with `count` processes of that size requests. Memory is a limit, as it cannot be squeezed; CPU is
/// not, as throttling would slow all workers down.
pub(super) fn requirements(
    resources: &PodResources,
    ephemeral_storage: Option<&ResourceAmount>,
    count: u32,
    gpu: Option<&GpuRequest>,
) -> ResourceRequirements {
    let times = |amount: &ResourceAmount| Quantity(amount.times(count).to_string());
    let mut limits = BTreeMap::from([("memory".to_owned(), times(&resources.memory))]);
    limits.extend(ephemeral_storage.map(|amount| ("ephemeral-storage".to_owned(), times(amount))));
    limits.extend(gpu.map(|gpu| (gpu.resource.clone(), Quantity(count.to_string()))));
    let mut requests = limits.clone();
    requests.insert("cpu".to_owned(), times(&resources.cpu));
    ResourceRequirements {
        requests: Some(requests),
        limits: Some(limits),
        ..ResourceRequirements::default()
    }
}

pub(super) fn locked_down() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".into()]),
            ..Capabilities::default()
        }),
        ..SecurityContext::default()
    }
}

/// The settings of one component's pods.
pub(super) fn settings_of<'a>(submission: &'a Submission, component: &str) -> &'a RoleSettings {
    match component {
        WORKER => &submission.settings.workers,
        _ => &submission.settings.coordinator,
    }
}

/// The pod of a component around its container.
pub(super) fn pod(
    submission: &Submission,
    component: &str,
    container: Container,
    volumes: Vec<Mounted>,
) -> PodSpec {
    let settings = settings_of(submission, component);
    let mut container = container;
    let (image, policy) = match &settings.image {
        Some(own) => (&own.name, own.pull_policy),
        None => (&submission.image, submission.settings.pull_policy),
    };
    container.image = Some(image.clone());
    container.image_pull_policy = policy.map(|policy| policy.name().to_owned());
    container
        .env
        .get_or_insert_default()
        .extend(settings.env.iter().cloned());
    container.security_context = Some(locked_down());
    container.env_from = env_from(submission);
    container.termination_message_policy = Some("FallbackToLogsOnError".into());
    let mut mounts: Vec<VolumeMount> = volumes.iter().map(|mounted| mounted.mount.clone()).collect();
    mounts.extend(settings.volume_mounts.iter().cloned());
    // A path is mounted before what lies below it.
    mounts.sort_by_key(|mount| Path::new(&mount.mount_path).components().count());
    container.volume_mounts = Some(mounts);
    let references = submission.settings.pull_secrets.iter();
    let references = references.map(|secret| LocalObjectReference {
        name: secret.to_string(),
    });
    let own = volumes.into_iter().filter_map(|mounted| mounted.volume);
    PodSpec {
        containers: vec![container],
        volumes: Some(own.chain(settings.volumes.iter().cloned()).collect()),
        service_account_name: submission.service_account.as_ref().map(ToString::to_string),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: (references.len() > 0).then(|| references.collect()),
        node_selector: (!settings.node_selector.is_empty()).then(|| settings.node_selector.clone()),
        tolerations: (!settings.tolerations.is_empty()).then(|| settings.tolerations.clone()),
        affinity: settings.affinity.clone(),
        topology_spread_constraints: (!settings.topology_spread_constraints.is_empty())
            .then(|| settings.topology_spread_constraints.clone()),
        priority_class_name: settings.priority_class_name.as_ref().map(ToString::to_string),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: submission.user,
            run_as_group: submission.user,
            fs_group: submission.user,
            fs_group_change_policy: submission.user.map(|_| "OnRootMismatch".into()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}
