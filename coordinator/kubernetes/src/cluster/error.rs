//! What can go wrong with a cluster, as sentences with a remedy.

use std::time::Duration;

use kube::core::Status;

/// Whose turn it is after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Request, rights or cluster must be changed by a person.
    Input,
    /// The same request may work later.
    Passing,
}

/// Why a cluster did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("no cluster is configured: {reason}")]
    NoConfig { reason: String },
    #[error("waited {} s for the command of the kubeconfig that logs in", waited.as_secs())]
    LogIn { waited: Duration },
    #[error("the cluster's API at {server} cannot be reached: {reason}")]
    Unreachable { server: String, reason: String },
    #[error("the certificate of the cluster's API at {server} is not trusted: {reason}")]
    Untrusted { server: String, reason: String },
    #[error("waited {} s for the cluster's API to {what}", waited.as_secs())]
    Late { what: String, waited: Duration },
    #[error("the cluster does not know who asks: {reason}")]
    Unauthorized { reason: String },
    #[error("not allowed to {what}: {reason}")]
    Forbidden {
        what: String,
        namespace: String,
        reason: String,
    },
    #[error("no quota left to {what}: {reason}")]
    Quota { what: String, reason: String },
    #[error("namespace `{namespace}` does not exist")]
    NoNamespace { namespace: String },
    #[error("this cluster has no {kind}")]
    NoSuchKind { kind: String },
    #[error("the cluster refuses to {what}:{}", listed(reasons))]
    Refused { what: String, reasons: Vec<String> },
    #[error("{kind} `{name}` is there already and belongs to something else")]
    Foreign { kind: String, name: String },
    #[error("run `{run}` is there already, and was submitted with other settings")]
    Differs { run: String },
    #[error("run `{run}` is being created by another command: {kind} `{name}` appeared in the meantime")]
    MadeMeanwhile { run: String, kind: String, name: String },
    #[error("run `{run}` has one of its two Secrets only, and they are made together")]
    HalfSecrets { run: String },
    #[error("namespace `{namespace}` has no {}; nothing was created", what.join(" and no "))]
    Missing { what: Vec<String>, namespace: String },
    #[error("there is no run `{run}` in namespace `{namespace}`")]
    NoRun { run: String, namespace: String },
    #[error("run `{run}` has no pod for {of}")]
    NoPod { run: String, of: String },
    #[error("the log of pod `{pod}` cannot be read: {reason}")]
    NoLog { pod: String, reason: String },
    #[error("run `{run}` cannot be resumed here: it was not submitted by this program")]
    NotSubmitted { run: String },
    #[error("the pods of {what} have not left within {} s", waited.as_secs())]
    StillThere {
        what: String,
        run: String,
        waited: Duration,
    },
    #[error("{what}: {reason}")]
    Other { what: String, reason: String },
}

fn remedy(kind: &str) -> &'static str {
    match kind {
        "JobSet" => "install JobSet, or leave --output-kind out",
        "TrainJob" | "TrainingRuntime" => "install Kubeflow Trainer, or leave --output-kind out",
        "PodMonitor" => "install the Prometheus operator, or leave --pod-monitor out",
        _ => "it is older than 1.34, or not a Kubernetes cluster",
    }
}

fn listed(reasons: &[String]) -> String {
    reasons.iter().map(|reason| format!("\n  {reason}")).collect()
}

impl ClusterError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoConfig { .. } => {
                "point KUBECONFIG to a kubeconfig, or name one of its contexts with --context".into()
            }
            Self::LogIn { .. } => {
                "log in once with `kubectl get pods`; its command must not ask for anything".into()
            }
            Self::Unreachable { .. } => {
                "`kubectl cluster-info` shows whether it is up; a VPN or proxy may be missing".into()
            }
            Self::Untrusted { .. } => {
                "certificate-authority-data of the kubeconfig's cluster must be that of the authority that signed \
                 it; a proxy that opens TLS connections has one of its own"
                    .into()
            }
            Self::Missing { .. } => {
                "create it, or correct the argument or the pod setting that names it".into()
            }
            Self::Late { .. } => "try again; `kubectl get --raw /readyz` shows how it is".into(),
            Self::Unauthorized { .. } => {
                "log in again, and check the user of the kubeconfig's context".into()
            }
            Self::Forbidden { namespace, .. } => format!(
                "docs/operate.md lists the rights that submitting needs; `kubectl auth can-i --list -n \
                 {namespace}` shows yours"
            ),
            Self::Quota { .. } => {
                "fewer --workers, or less of --cpus-per-worker, --memory-per-worker or --gpus-per-worker"
                    .into()
            }
            Self::NoNamespace { namespace } => format!(
                "create it with `kubectl create namespace {namespace}`, or give another with --namespace"
            ),
            Self::NoSuchKind { kind } => remedy(kind).to_owned(),
            Self::Foreign { .. } => {
                "give the run another name with --set run.name=…, or another --namespace".into()
            }
            Self::Differs { run } => format!(
                "look at it with `coordinator cluster status {run}`, remove it with `coordinator cluster \
                 delete {run}`, or give this one another name with --set run.name=…"
            ),
            Self::MadeMeanwhile { run, .. } => format!(
                "follow that one with `coordinator cluster follow {run}`, or give this one another name with \
                 --set run.name=…"
            ),
            Self::HalfSecrets { run } => format!("`coordinator cluster delete {run}`, then submit it again"),
            Self::NoRun { namespace, .. } => {
                format!("`coordinator cluster list -n {namespace}` shows those that are there")
            }
            Self::NoPod { run, .. } => format!("`coordinator cluster status {run}` lists its pods"),
            Self::NoLog { pod, .. } => format!(
                "its node may be down, which `kubectl get pod {pod} -o wide` names; other pods are not affected"
            ),
            Self::NotSubmitted { .. } => "use what applied it, such as helm or kubectl apply".into(),
            Self::StillThere { run, .. } => format!(
                "`kubectl get pods -l app.kubernetes.io/instance={run}` shows them; a node may be gone"
            ),
            Self::Refused { .. } | Self::Other { .. } => return None,
        })
    }

    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Unreachable { .. }
            | Self::LogIn { .. }
            | Self::Late { .. }
            | Self::NoLog { .. }
            | Self::Quota { .. }
            | Self::StillThere { .. } => Blame::Passing,
            Self::NoConfig { .. }
            | Self::Untrusted { .. }
            | Self::Missing { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::NoNamespace { .. }
            | Self::NoSuchKind { .. }
            | Self::Refused { .. }
            | Self::Foreign { .. }
            | Self::Differs { .. }
            | Self::MadeMeanwhile { .. }
            | Self::HalfSecrets { .. }
            | Self::NoRun { .. }
            | Self::NoPod { .. }
            | Self::NotSubmitted { .. }
            | Self::Other { .. } => Blame::Input,
        }
    }
}

/// What was asked of whom, for the sentence of what came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub what: &'a str,
    pub kind: &'a str,
    pub namespace: &'a str,
    pub server: &'a str,
}

/// The API's answer as an error of ours.
pub(super) fn explain(asked: Asked<'_>, cause: &kube::Error) -> ClusterError {
    match cause {
        kube::Error::Api(status) => of_status(asked, status),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => {
            let (server, reason) = (asked.server.to_owned(), with_causes(cause));
            match reason.contains("invalid peer certificate") {
                true => ClusterError::Untrusted { server, reason },
                false => ClusterError::Unreachable { server, reason },
            }
        }
        kube::Error::Auth(_) => ClusterError::Unauthorized {
            reason: with_causes(cause),
        },
        _ => ClusterError::Other {
            what: asked.what.to_owned(),
            reason: with_causes(cause),
        },
    }
}

fn of_status(asked: Asked<'_>, status: &Status) -> ClusterError {
    let told = || status.message.trim().to_owned();
    let what = || asked.what.to_owned();
    let namespace = || asked.namespace.to_owned();
    match status.code {
        401 => ClusterError::Unauthorized { reason: told() },
        403 if status.message.contains("exceeded quota") => ClusterError::Quota {
            what: what(),
            reason: told(),
        },
        // A webhook's word is on what was asked for, not on who asks.
        403 if status.message.contains("admission webhook") => ClusterError::Refused {
            what: what(),
            reasons: vec![told()],
        },
        403 => ClusterError::Forbidden {
            what: what(),
            namespace: namespace(),
            reason: told(),
        },
        404 if status.message.contains("namespaces \"") => ClusterError::NoNamespace {
            namespace: namespace(),
        },
        404 if is_unknown_path(status) => ClusterError::NoSuchKind {
            kind: asked.kind.to_owned(),
        },
        429 | 500.. => ClusterError::Unreachable {
            server: asked.server.to_owned(),
            reason: told(),
        },
        _ => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            let mut reasons: Vec<String> = causes
                .map(|cause| match cause.field.is_empty() {
                    true => cause.message.clone(),
                    false => format!("{}: {}", cause.field, cause.message),
                })
                .collect();
            if reasons.is_empty() {
                reasons.push(told());
            }
            ClusterError::Refused {
                what: what(),
                reasons,
            }
        }
    }
}

/// A group or version that the server does not serve, as opposed to an object that is not there.
fn is_unknown_path(status: &Status) -> bool {
    status.message.contains("could not find the requested resource")
        || status.message.contains("page not found")
}

/// An error with its causes on one line, each said once.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untrusted_certificate_is_no_missing_network() {
        let asked = Asked {
            what: "list pods",
            kind: "Pod",
            namespace: "vision",
            server: "https://10.0.0.1:6443",
        };
        let of = |text: &str| explain(asked, &kube::Error::Service(text.into()));
        let untrusted = of("invalid peer certificate: UnknownIssuer");
        assert!(
            untrusted.to_string().starts_with(
                "the certificate of the cluster's API at https://10.0.0.1:6443 is not trusted: "
            ),
            "{untrusted}"
        );
        let hint = untrusted.hint().unwrap_or_default();
        assert!(hint.starts_with("certificate-authority-data"), "{hint}");
        assert_eq!(untrusted.blame(), Blame::Input);
        let refused = of("connection refused");
        assert!(matches!(refused, ClusterError::Unreachable { .. }), "{refused}");
        assert_eq!(refused.blame(), Blame::Passing);
    }
}
