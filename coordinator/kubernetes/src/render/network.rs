//! Who may speak with whom: nobody, but for what the run needs. And who may fetch the metrics.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::metadata::{Labels, metadata, of, of_run, selector};
use super::pods::{CONTROL, DATA, HTTP, METRICS};
use crate::manifest::ObjectManifest;
use crate::names::{COORDINATOR, WORKER};
use crate::submission::Submission;

const DNS: i32 = 53;

pub(super) fn policies(submission: &Submission) -> [ObjectManifest; 3] {
    [
        deny(submission),
        of_coordinator(submission),
        of_workers(submission),
    ]
}

fn policy(submission: &Submission, name: &str, component: &str, spec: NetworkPolicySpec) -> ObjectManifest {
    ObjectManifest::typed(&NetworkPolicy {
        metadata: metadata(submission, format!("{}-{name}", submission.run), component),
        spec: Some(NetworkPolicySpec {
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ..spec
        }),
    })
}

fn deny(submission: &Submission) -> ObjectManifest {
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(of_run(submission))),
        ..NetworkPolicySpec::default()
    };
    policy(submission, "deny", COORDINATOR, spec)
}

fn port(port: IntOrString) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(port),
        protocol: Some("TCP".into()),
        ..NetworkPolicyPort::default()
    }
}

fn named(name: &str) -> NetworkPolicyPort {
    port(IntOrString::String(name.into()))
}

fn pods(labels: Labels) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(selector(labels)),
        ..NetworkPolicyPeer::default()
    }
}

/// Names, and object storage where it is used: its address is not known here.
fn outside(submission: &Submission) -> Vec<NetworkPolicyEgressRule> {
    let dns = ["UDP", "TCP"].map(|protocol| NetworkPolicyPort {
        protocol: Some(protocol.into()),
        ..port(IntOrString::Int(DNS))
    });
    let mut rules = vec![NetworkPolicyEgressRule {
        ports: Some(dns.to_vec()),
        to: None,
    }];
    if submission.object_storage {
        let ports = submission
            .egress_ports
            .iter()
            .map(|number| port(IntOrString::Int(i32::from(*number))));
        rules.push(NetworkPolicyEgressRule {
            ports: Some(ports.collect()),
            to: None,
        });
    }
    rules
}

/// Who may read what a pod shows on a port: the namespace, and Prometheus.
fn read_on(submission: &Submission, port: &str) -> NetworkPolicyIngressRule {
    let mut readers = vec![pods(Labels::new())];
    readers.extend(
        submission
            .monitoring
            .namespace
            .as_ref()
            .map(|namespace| NetworkPolicyPeer {
                namespace_selector: Some(LabelSelector {
                    match_labels: Some(BTreeMap::from([(
                        "kubernetes.io/metadata.name".to_owned(),
                        namespace.to_string(),
                    )])),
                    ..LabelSelector::default()
                }),
                ..NetworkPolicyPeer::default()
            }),
    );
    NetworkPolicyIngressRule {
        from: Some(readers),
        ports: Some(vec![named(port)]),
    }
}

fn of_coordinator(submission: &Submission) -> ObjectManifest {
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(of(submission, COORDINATOR))),
        ingress: Some(vec![
            NetworkPolicyIngressRule {
                from: Some(vec![pods(of(submission, WORKER))]),
                ports: Some(vec![named(CONTROL.0)]),
            },
            read_on(submission, HTTP.0),
        ]),
        egress: Some(outside(submission)),
        ..NetworkPolicySpec::default()
    };
    policy(submission, "coordinator", COORDINATOR, spec)
}

/// One for each worker of a pod.
fn data_ports(submission: &Submission) -> NetworkPolicyPort {
    match i32::try_from(submission.workers_per_pod) {
        Ok(count @ 2..) => NetworkPolicyPort {
            end_port: Some(DATA.1 + count - 1),
            ..port(IntOrString::Int(DATA.1))
        },
        _ => named(DATA.0),
    }
}

fn of_workers(submission: &Submission) -> ObjectManifest {
    // NCCL listens on ports that the system chooses.
    let ports = submission.gpu.is_none().then(|| vec![data_ports(submission)]);
    let workers = || Some(vec![pods(of(submission, WORKER))]);
    let mut egress = vec![
        NetworkPolicyEgressRule {
            to: Some(vec![pods(of(submission, COORDINATOR))]),
            ports: Some(vec![named(CONTROL.0)]),
        },
        NetworkPolicyEgressRule {
            to: workers(),
            ports: ports.clone(),
        },
    ];
    egress.extend(outside(submission));
    let spec = NetworkPolicySpec {
        pod_selector: Some(selector(of(submission, WORKER))),
        ingress: Some(vec![
            NetworkPolicyIngressRule {
                from: workers(),
                ports,
            },
            read_on(submission, METRICS.0),
        ]),
        egress: Some(egress),
        ..NetworkPolicySpec::default()
    };
    policy(submission, "worker", WORKER, spec)
}

pub(super) fn pod_monitor(submission: &Submission) -> ObjectManifest {
    let endpoints =
        [HTTP.0, METRICS.0].map(|port| json!({"port": port, "path": "/metrics", "interval": "15s"}));
    ObjectManifest::custom(json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(submission, submission.run.coordinator(), COORDINATOR),
        "spec": {
            "selector": {"matchLabels": of_run(submission)},
            "podMetricsEndpoints": endpoints,
        },
    }))
}
