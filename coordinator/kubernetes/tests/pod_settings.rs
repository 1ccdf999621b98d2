//! A file of pod settings, and what it makes of the pods.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

mod common;

use common::{plain, rich};
use serde_json::{Value, json};
use ulda_kubernetes::{ObjectManifest, OutputKind, PodSettings, Submission, plan, render};

const DIGEST: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

fn file() -> String {
    format!(
        r#"
image: {{pullPolicy: IfNotPresent}}
imagePullSecrets: [{{name: registry}}, {{name: mirror}}]
gpu: {{resource: nvidia.com/mig-3g.40gb}}
workers:
  image: {{repository: registry.example/ulda-cuda, digest: "{DIGEST}", pullPolicy: Always}}
  shm: 16Gi
  ephemeralStorage: 200Gi
  nodeSelector: {{pool: training}}
  tolerations: [{{key: dedicated, operator: Equal, value: training, effect: NoSchedule}}]
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms: [{{matchExpressions: [{{key: zone, operator: In, values: [a, b]}}]}}]
  topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: {{matchLabels: {{app.kubernetes.io/component: worker}}}}
  priorityClassName: training
  env: [{{name: NCCL_DEBUG, value: INFO}}]
  labels: {{team: vision}}
  annotations: {{sidecar.istio.io/inject: "false"}}
  volumes: [{{name: authority, configMap: {{name: authority}}}}]
  volumeMounts: [{{name: authority, mountPath: /etc/authority, readOnly: true}}]
coordinator:
  cpu: 2
  memory: 2Gi
  affinity: {{}}
  priorityClassName: ""
  env: [{{name: AWS_CA_BUNDLE, value: /etc/authority/ca.pem}}]
  labels: {{team: vision}}
"#
    )
}

fn with(text: &str, submission: Submission) -> Submission {
    Submission {
        settings: PodSettings::parse(text).unwrap(),
        ..submission
    }
}

fn pod<'a>(manifests: &'a [ObjectManifest], kind: &str) -> &'a Value {
    let manifest = manifests.iter().find(|manifest| manifest.kind == kind).unwrap();
    &manifest.value["spec"]["template"]
}

#[test]
fn every_setting_reaches_the_pods_of_its_role() {
    let manifests = render(&with(&file(), plain()));
    let template = pod(&manifests, "Job");
    let (spec, metadata) = (&template["spec"], &template["metadata"]);
    let container = &spec["containers"][0];
    assert_eq!(container["image"], format!("registry.example/ulda-cuda@{DIGEST}"));
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(
        spec["imagePullSecrets"],
        json!([{"name": "registry"}, {"name": "mirror"}])
    );
    let requests = &container["resources"]["requests"];
    assert_eq!(requests["ephemeral-storage"], "200Gi");
    assert_eq!(container["resources"]["limits"]["ephemeral-storage"], "200Gi");
    assert_eq!(spec["nodeSelector"], json!({"pool": "training"}));
    assert_eq!(
        spec["tolerations"],
        json!([{"key": "dedicated", "operator": "Equal", "value": "training", "effect": "NoSchedule"}])
    );
    let terms = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    assert_eq!(
        spec.pointer(terms).unwrap()[0]["matchExpressions"][0]["key"],
        "zone"
    );
    assert_eq!(spec["topologySpreadConstraints"][0]["maxSkew"], 1);
    assert_eq!(spec["priorityClassName"], "training");
    let among = |items: &Value, item: Value| items.as_array().unwrap().contains(&item);
    assert!(among(
        &container["env"],
        json!({"name": "NCCL_DEBUG", "value": "INFO"})
    ));
    assert_eq!(metadata["labels"]["team"], "vision");
    assert_eq!(metadata["labels"]["app.kubernetes.io/component"], "worker");
    assert_eq!(metadata["annotations"]["sidecar.istio.io/inject"], "false");
    assert_eq!(metadata["annotations"]["prometheus.io/port"], "9465");
    assert!(among(
        &spec["volumes"],
        json!({"name": "authority", "configMap": {"name": "authority"}})
    ));
    assert!(among(
        &container["volumeMounts"],
        json!({"name": "authority", "mountPath": "/etc/authority", "readOnly": true})
    ));
    let shm = json!({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "16Gi"}});
    assert!(among(&spec["volumes"], shm));

    let template = pod(&manifests, "StatefulSet");
    let (spec, container) = (&template["spec"], &template["spec"]["containers"][0]);
    assert_eq!(container["image"], "registry.local/ulda:0.1.0");
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(spec["imagePullSecrets"][1]["name"], "mirror");
    for absent in ["affinity", "priorityClassName", "tolerations", "nodeSelector"] {
        assert!(spec.get(absent).is_none(), "{absent}: {spec}");
    }
    assert!(among(
        &container["env"],
        json!({"name": "AWS_CA_BUNDLE", "value": "/etc/authority/ca.pem"})
    ));
    // The plan names what is not usual.
    let rows = plan(&with(&file(), plain()), &manifests);
    let images = rows.iter().filter(|row| row[0] == "image");
    assert_eq!(images.count(), 2, "{rows:?}");
}

#[test]
fn a_gpu_is_requested_by_its_resource_and_settings_come_beside_what_it_needs() {
    let mut submission = with(&file(), rich(OutputKind::IndexedJob));
    let resource = submission.settings.gpu_resource.clone().unwrap();
    submission.gpu.as_mut().unwrap().resource = resource;
    let manifests = render(&submission);
    let spec = &pod(&manifests, "Job")["spec"];
    let limits = &spec["containers"][0]["resources"]["limits"];
    assert_eq!(limits["nvidia.com/mig-3g.40gb"], "1");
    let tolerated: Vec<&Value> = spec["tolerations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["key"])
        .collect();
    assert_eq!(tolerated, ["nvidia.com/mig-3g.40gb", "dedicated"]);
    assert_eq!(
        spec["nodeSelector"],
        json!({"pool": "training", "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"})
    );
}

#[test]
fn nothing_is_set_by_an_empty_file_and_another_user_is_the_clusters() {
    assert_eq!(PodSettings::parse("").unwrap(), PodSettings::default());
    assert_eq!(
        PodSettings::parse("# nothing\nworkers:\n").unwrap(),
        PodSettings::default()
    );
    let json = PodSettings::parse(r#"{"workers": {"shm": "4Gi"}}"#).unwrap();
    assert_eq!(json, PodSettings::parse("workers: {shm: 4Gi}").unwrap());
    let any = Submission {
        user: None,
        ..plain()
    };
    let context = &pod(&render(&any), "Job")["spec"]["securityContext"].clone();
    assert_eq!(context["runAsNonRoot"], true);
    for key in ["runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy"] {
        assert!(context.get(key).is_none(), "{key}");
    }
}

#[test]
fn workers_that_share_a_pod_share_its_node_and_add_up() {
    let shared = Submission {
        workers_per_pod: 4,
        ..with(
            "workers: {shm: 1.5Gi, ephemeralStorage: 10Gi}",
            rich(OutputKind::IndexedJob),
        )
    };
    let manifests = render(&shared);
    let job = manifests.iter().find(|manifest| manifest.kind == "Job").unwrap();
    let (spec, container) = (
        &job.value["spec"],
        &pod(&manifests, "Job")["spec"]["containers"][0],
    );
    assert_eq!(
        (&spec["completions"], &spec["maxFailedIndexes"]),
        (&json!(2), &json!(1))
    );
    let limits = json!({"memory": "64Gi", "ephemeral-storage": "40Gi", "nvidia.com/gpu": "4"});
    assert_eq!(container["resources"]["limits"], limits);
    assert_eq!(container["resources"]["requests"]["cpu"], "16");
    let arguments = container["args"].as_array().unwrap();
    for argument in ["--slot=$(JOB_COMPLETION_INDEX)", "--processes=4", "--grace=90"] {
        assert!(arguments.contains(&json!(argument)), "{argument}: {arguments:?}");
    }
    let volumes = pod(&manifests, "Job")["spec"]["volumes"].as_array().unwrap();
    let shm = volumes.iter().find(|volume| volume["name"] == "shm").unwrap();
    assert_eq!(shm["emptyDir"]["sizeLimit"], "6Gi");
    let coordinator = &pod(&manifests, "StatefulSet")["spec"]["containers"][0]["args"];
    assert!(coordinator.as_array().unwrap().contains(&json!("--workers=8")));
    let rows = plan(&shared, &manifests);
    let workers = rows.iter().find(|row| row[0] == "workers").unwrap();
    assert!(
        workers[1].starts_with(
            "2 pods of a Job: 4 workers in each, and each worker 4 CPU, 16Gi memory, 10Gi disk, 1 nvidia"
        ),
        "{workers:?}"
    );
    // Each listens on a port of its own, where NCCL does not open all of them.
    let on_cpu = Submission {
        workers: 8,
        workers_per_pod: 4,
        ..plain()
    };
    let manifests = render(&on_cpu);
    let policy = manifests
        .iter()
        .find(|manifest| manifest.name == "fog-worker" && manifest.kind == "NetworkPolicy");
    let ports = &policy.unwrap().value["spec"]["ingress"][0]["ports"];
    assert_eq!(
        *ports,
        json!([{"port": 7071, "endPort": 7074, "protocol": "TCP"}])
    );
    let train_job = Submission {
        output: OutputKind::TrainJob,
        ..on_cpu
    };
    let manifests = render(&train_job);
    let job = manifests
        .iter()
        .find(|manifest| manifest.kind == "TrainJob")
        .unwrap();
    assert_eq!(job.value["spec"]["trainer"]["numNodes"], 2);
}

/// A file, and how the sentence that refuses it begins.
const REFUSED: &[(&str, &str)] = &[
    ("workers: [", "it is not YAML: "),
    ("- a", "`the file`: it is no map of keys and values"),
    ("wrokers: {}", "`wrokers` is no pod setting"),
    (
        "workers: {toleration: []}",
        "`workers.toleration` is no pod setting",
    ),
    (
        "workers: {tolerations: [{kye: dedicated}]}",
        "`workers.tolerations[0].kye` is no pod setting",
    ),
    (
        "workers: {affinity: {nodeAffinity: {preferred: []}}}",
        "`workers.affinity.nodeAffinity.preferred` is no pod setting",
    ),
    (
        "workers: {tolerations: {}}",
        "`workers.tolerations`: it is no list",
    ),
    (
        "workers: {env: [{name: A, value: 1}]}",
        "`workers.env[0]`: invalid type: integer `1`, expected a string",
    ),
    ("workers: {count: 3}", "`workers.count` is not set in this file"),
    ("data: []", "`data` is not set in this file"),
    (
        "image: {repository: a}",
        "`image.repository` is not set in this file",
    ),
    (
        "image: {pullPolicy: Sometimes}",
        "`image.pullPolicy`: `Sometimes` is none of Always",
    ),
    (
        "workers: {image: {pullPolicy: Always}}",
        "`workers.image.pullPolicy`: it needs a repository",
    ),
    (
        "workers: {image: {repository: a, digest: abc}}",
        "`workers.image.digest`: it is not sha256: and 64 digits",
    ),
    (
        "workers: {image: {repository: \"a b\"}}",
        "`workers.image.repository`: it is no image's name",
    ),
    (
        "workers: {image: {repository: a, tag: \"a b\"}}",
        "`workers.image.tag`: letters, digits",
    ),
    (
        "workers: {shm: 16 GB}",
        "`workers.shm`: `16 GB`: give a number such as 4, 500m, 16Gi or 1.5T",
    ),
    ("coordinator: {shm: 1Gi}", "`coordinator.shm` is no pod setting"),
    (
        "coordinator: {priorityClassName: Big}",
        "`coordinator.priorityClassName`: `Big`: it holds `B`",
    ),
    (
        "imagePullSecrets: [{name: A}]",
        "`imagePullSecrets[0].name`: it holds `A`",
    ),
    (
        "gpu: {resource: gpu}",
        "`gpu.resource`: `gpu` is no extended resource",
    ),
    (
        "workers: {labels: {app.kubernetes.io/name: a}}",
        "`workers.labels`: `app.kubernetes.io/name` is a label that every pod has already",
    ),
    (
        "workers: {env: [{name: A}, {name: HOME, value: /}]}",
        "`workers.env[1].name`: `HOME` is set by `submit` itself",
    ),
    (
        "workers: {volumes: [{name: tmp, emptyDir: {}}]}",
        "`workers.volumes[0].name`: `tmp` is the name of a volume that pods have already",
    ),
    (
        "workers: {volumes: [{name: a, emptyDir: {}}, {name: a, emptyDir: {}}]}",
        "`workers.volumes[1].name`: `a` is there twice",
    ),
    (
        "workers: {volumeMounts: [{name: a, mountPath: /a}]}",
        "`workers.volumeMounts[0].name`: `a` is none of workers.volumes",
    ),
    (
        "workers: {volumes: [{name: a, emptyDir: {}}], volumeMounts: [{name: a, mountPath: /etc}]}",
        "`workers.volumeMounts[0].mountPath`: `/etc` is where the pods keep their own files",
    ),
    (
        "workers: {volumes: [{name: a, emptyDir: {}}], volumeMounts: [{name: a, mountPath: a}]}",
        "`workers.volumeMounts[0].mountPath`: `a` is not an absolute path",
    ),
];

#[test]
fn what_pods_cannot_have_is_refused_by_its_key() {
    for (text, sentence) in REFUSED {
        let refused = PodSettings::parse(text).unwrap_err();
        assert!(refused.to_string().starts_with(sentence), "{text}: {refused}");
    }
    let elsewhere = PodSettings::parse("workers: {cpu: 3}").unwrap_err();
    assert_eq!(elsewhere.hint().as_deref(), Some("use --cpus-per-worker"));
}
