//! The way to a cluster: kubeconfig, or the pod this runs in. Every request has a deadline and a name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use ulda_files::{MOST_CONFIGURATION_BYTES, MOST_CREDENTIAL_BYTES};

use super::error::{Asked, ClusterError, explain};
use crate::manifest::ObjectManifest;
use crate::names::Label;

/// Longest wait for one answer of the API.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Longest wait for the command of a kubeconfig that logs in.
const LOG_IN_DEADLINE: Duration = Duration::from_secs(45);

/// A namespace of a cluster.
#[derive(Clone)]
pub struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) server: String,
}

impl Cluster {
    /// The cluster that KUBECONFIG, `~/.kube/config` or the surrounding pod names.
    ///
    /// # Errors
    /// There is none, or its configuration cannot be read.
    pub async fn connect(context: Option<&str>, namespace: Option<&Label>) -> Result<Self, ClusterError> {
        let no_config = |cause: &dyn std::error::Error| ClusterError::NoConfig {
            reason: cause.to_string(),
        };
        check_files().map_err(|reason| ClusterError::NoConfig { reason })?;
        let mut config = match context {
            Some(_) => {
                let options = KubeConfigOptions {
                    context: context.map(ToOwned::to_owned),
                    ..KubeConfigOptions::default()
                };
                let file = Kubeconfig::read().map_err(|cause| no_config(&cause))?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(|cause| no_config(&cause))?
            }
            None => Config::infer().await.map_err(|cause| no_config(&cause))?,
        };
        config.connect_timeout = Some(CONNECT_DEADLINE);
        let server = config.cluster_url.to_string();
        let namespace = namespace.map_or_else(|| config.default_namespace.clone(), ToString::to_string);
        let client = client_of(config).await?;
        Ok(Self::new(client, namespace, server))
    }

    /// A cluster by a client that is there already.
    #[must_use]
    pub fn new(client: Client, namespace: String, server: String) -> Self {
        Self {
            client,
            namespace,
            server: server.trim_end_matches('/').to_owned(),
        }
    }

    /// Another namespace of the same cluster.
    #[must_use]
    pub fn elsewhere(&self, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            ..self.clone()
        }
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) fn dynamic(&self, kind: &ObjectKind) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(kind.group, kind.version, kind.kind),
            kind.plural,
        );
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// One request, with a deadline.
    pub(super) async fn ask<T>(
        &self,
        kind: &str,
        what: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ClusterError> {
        let asked = Asked {
            what,
            kind,
            namespace: &self.namespace,
            server: &self.server,
        };
        match tokio::time::timeout(ANSWER_DEADLINE, request).await {
            Ok(answer) => answer.map_err(|cause| explain(asked, &cause)),
            Err(_) => Err(ClusterError::Late {
                what: what.to_owned(),
                waited: ANSWER_DEADLINE,
            }),
        }
    }

    pub(super) async fn list<K>(&self, kind: &str, selector: &str) -> Result<Vec<K>, ClusterError>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let parameters = ListParams::default().labels(selector);
        let api = self.api::<K>();
        let listed = self
            .ask(kind, &format!("list {kind}s"), api.list(&parameters))
            .await?;
        Ok(listed.items)
    }
}

/// A client, which may need a token from a command that the kubeconfig names and that may never end: its thread is then
/// left behind.
async fn client_of(config: Config) -> Result<Client, ClusterError> {
    let runtime = tokio::runtime::Handle::current();
    let (done, outcome) = tokio::sync::oneshot::channel();
    let log_in = move || {
        let _entered = runtime.enter();
        // Nobody waits any more after the deadline.
        let _ = done.send(Client::try_from(config));
    };
    let started = std::thread::Builder::new().name("log-in".into()).spawn(log_in);
    let no_config = |reason: String| ClusterError::NoConfig { reason };
    started.map_err(|cause| no_config(cause.to_string()))?;
    match tokio::time::timeout(LOG_IN_DEADLINE, outcome).await {
        Ok(Ok(client)) => client.map_err(|cause| no_config(cause.to_string())),
        Ok(Err(_)) => Err(no_config("logging in panicked".into())),
        Err(_) => Err(ClusterError::LogIn {
            waited: LOG_IN_DEADLINE,
        }),
    }
}

/// Refuses a kubeconfig, and certificates, keys and tokens that it names, which are no files of a reasonable size: the
/// client reads them to their ends.
fn check_files() -> Result<(), String> {
    let named = std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty());
    let own = || Some(std::env::home_dir()?.join(".kube/config"));
    let kubeconfigs: Vec<PathBuf> = match &named {
        Some(paths) => std::env::split_paths(paths).collect(),
        None => own().into_iter().collect(),
    };
    for path in kubeconfigs {
        check("kubeconfig", &path, MOST_CONFIGURATION_BYTES)?;
    }
    // What else is wrong with it is said where it is used.
    let Ok(config) = Kubeconfig::read() else {
        return Ok(());
    };
    let clusters = config.clusters.into_iter().filter_map(|named| named.cluster);
    let authorities = clusters.filter_map(|cluster| cluster.certificate_authority);
    let users = config.auth_infos.into_iter().filter_map(|named| named.auth_info);
    let of_users = users.flat_map(|user| [user.client_certificate, user.client_key, user.token_file]);
    for path in authorities.chain(of_users.flatten()) {
        check("file of the kubeconfig", Path::new(&path), MOST_CREDENTIAL_BYTES)?;
    }
    Ok(())
}

fn check(what: &str, path: &Path, most: u64) -> Result<(), String> {
    ulda_files::check_file(path, most).map_err(|cause| format!("{what} `{}`: {cause}", path.display()))
}

/// A kind of object that a run consists of.
#[derive(Debug)]
pub(super) struct ObjectKind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
}

/// What keeps the coordinator running.
pub(super) const STATEFUL_SET: ObjectKind = ObjectKind::new("apps", "v1", "StatefulSet", "statefulsets");

/// What keeps the run.toml, and a copy of what runs the workers.
pub(super) const CONFIG_MAP: ObjectKind = ObjectKind::new("", "v1", "ConfigMap", "configmaps");

/// All of them, those first that are to be deleted first.
pub(super) const KINDS: [ObjectKind; 11] = [
    ObjectKind::new("trainer.kubeflow.org", "v1alpha1", "TrainJob", "trainjobs"),
    ObjectKind::new(
        "trainer.kubeflow.org",
        "v1alpha1",
        "TrainingRuntime",
        "trainingruntimes",
    ),
    ObjectKind::new("jobset.x-k8s.io", "v1alpha2", "JobSet", "jobsets"),
    ObjectKind::new("batch", "v1", "Job", "jobs"),
    ObjectKind::new("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
    STATEFUL_SET,
    ObjectKind::new("", "v1", "Service", "services"),
    ObjectKind::new("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    ObjectKind::new("", "v1", "Secret", "secrets"),
    CONFIG_MAP,
    ObjectKind::new("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
];

impl ObjectKind {
    const fn new(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
        }
    }

    pub fn of(manifest: &ObjectManifest) -> Option<&'static Self> {
        let (group, _) = manifest.group_version();
        Self::named(group, &manifest.kind)
    }

    pub fn named(group: &str, name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.group == group && kind.kind == name)
    }

    /// Whether every cluster has it.
    pub fn is_built_in(&self) -> bool {
        !self.group.contains('.') || self.group == "networking.k8s.io"
    }
}
