//! Submissions that tests begin with.

use std::collections::BTreeMap;
use std::time::Duration;

use ulda_kubernetes::{
    Credentials, Files, GpuRequest, Monitoring, OutputKind, PodResources, PodSettings, RoleSettings,
    RunStorage, Submission,
};

pub const CONFIG: &str = "[run]\nname = \"fog\"\n";

/// Two workers on CPU, with data and results on claims.
pub fn plain() -> Submission {
    Submission {
        run: "fog".parse().unwrap(),
        namespace: None,
        workers: 2,
        workers_per_pod: 1,
        image: "registry.local/ulda:0.1.0".into(),
        output: OutputKind::IndexedJob,
        queue: None,
        gpu: None,
        worker: PodResources {
            cpu: "4".parse().unwrap(),
            memory: "16Gi".parse().unwrap(),
        },
        coordinator: PodResources {
            cpu: "500m".parse().unwrap(),
            memory: "1Gi".parse().unwrap(),
        },
        state_size: "5Gi".parse().unwrap(),
        storage_class: None,
        data: vec!["city".parse().unwrap()],
        storage: RunStorage::Shared("results".parse().unwrap()),
        s3_secret: None,
        object_storage: false,
        egress_ports: vec![443],
        service_account: None,
        user: Some(10001),
        settings: PodSettings::default(),
        monitoring: Monitoring::default(),
        config: CONFIG.into(),
        threads_per_shard: Some(4),
        device: None,
        drain: Duration::from_secs(30),
        credentials: Credentials::There,
    }
}

/// A folder of one file.
pub fn token(text: &[u8]) -> Files {
    Files::from([("token".into(), text.to_vec())])
}

/// Eight workers with every choice made.
pub fn rich(output: OutputKind) -> Submission {
    Submission {
        namespace: Some("vision".parse().unwrap()),
        workers: 8,
        output,
        queue: Some("team-a".parse().unwrap()),
        gpu: Some(GpuRequest {
            resource: "nvidia.com/gpu".into(),
            node: Some(("nvidia.com/gpu.product".into(), "NVIDIA-H100-80GB-HBM3".into())),
        }),
        storage_class: Some("fast".parse().unwrap()),
        data: vec!["city".parse().unwrap(), "acdc:/data/acdc".parse().unwrap()],
        s3_secret: Some("s3-keys".parse().unwrap()),
        object_storage: true,
        egress_ports: vec![443, 9000],
        service_account: Some("trainer".parse().unwrap()),
        settings: PodSettings {
            pull_secrets: vec!["registry".parse().unwrap()],
            workers: RoleSettings {
                node_selector: BTreeMap::from([("pool".into(), "training".into())]),
                ..RoleSettings::default()
            },
            ..PodSettings::default()
        },
        monitoring: Monitoring {
            pod_monitor: true,
            namespace: Some("monitoring".parse().unwrap()),
        },
        threads_per_shard: None,
        device: None,
        credentials: Credentials::Made {
            coordinator: token(b"hush"),
            workers: token(b"hush"),
        },
        ..plain()
    }
}
