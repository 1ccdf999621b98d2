//! What a submission is rendered to.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

mod common;

use std::path::{Path, PathBuf};

use common::{plain, rich, token};
use serde_json::Value;
use ulda_kubernetes::{
    Credentials, ObjectManifest, OutputKind, RunStorage, plan, render, render_submission, yaml_of,
};

fn path_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(name)
}

/// Compares with a golden text; `ULDA_WRITE_SNAPSHOTS=1` writes it instead.
fn assert_golden(path: &Path, text: &str) {
    if std::env::var("ULDA_WRITE_SNAPSHOTS").is_ok() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, golden, "differs from {}", path.display());
}

fn find<'a>(manifests: &'a [ObjectManifest], kind: &str) -> &'a Value {
    &manifests
        .iter()
        .find(|manifest| manifest.kind == kind)
        .unwrap()
        .value
}

fn all() -> Vec<Vec<ObjectManifest>> {
    [OutputKind::IndexedJob, OutputKind::JobSet, OutputKind::TrainJob]
        .into_iter()
        .map(|output| render(&rich(output)))
        .chain([render(&plain())])
        .collect()
}

#[test]
fn a_small_run_is_rendered_as_it_was() {
    assert_golden(&path_of("plain.yaml"), &yaml_of(&render_submission(&plain())));
}

#[test]
fn a_rich_run_is_rendered_as_it_was() {
    assert_golden(
        &path_of("rich.yaml"),
        &yaml_of(&render_submission(&rich(OutputKind::IndexedJob))),
    );
}

#[test]
fn sets_differ_in_what_is_around_the_same_job() {
    let sets: Vec<ObjectManifest> = [OutputKind::JobSet, OutputKind::TrainJob]
        .into_iter()
        .flat_map(|output| render(&rich(output)))
        .filter(|manifest| ["JobSet", "TrainJob", "TrainingRuntime"].contains(&manifest.kind.as_str()))
        .collect();
    assert_golden(&path_of("sets.yaml"), &yaml_of(&sets));
}

#[test]
fn the_same_submission_is_rendered_to_the_same_bytes_and_another_is_told_apart() {
    let digest =
        |manifests: &[ObjectManifest]| find(manifests, "StatefulSet")["metadata"]["annotations"].clone();
    assert_eq!(render(&plain()), render(&plain()));
    let mut other = plain();
    other.workers = 3;
    assert_ne!(digest(&render(&plain())), digest(&render(&other)));
    let mut secret = rich(OutputKind::JobSet);
    secret.credentials = Credentials::Made {
        coordinator: token(b"another"),
        workers: token(b"another"),
    };
    assert_eq!(
        digest(&render(&rich(OutputKind::JobSet))),
        digest(&render(&secret)),
        "credentials are drawn anew and do not make another run"
    );
}

fn pods(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(map) => {
            let own = map.get("containers").map(|_| value);
            own.into_iter().chain(map.values().flat_map(pods)).collect()
        }
        Value::Array(items) => items.iter().flat_map(pods).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn workers_are_told_the_device_and_the_coordinator_is_not() {
    let told = |manifests: &[ObjectManifest], kind| -> Option<String> {
        let pod = &find(manifests, kind)["spec"]["template"]["spec"];
        let environment = pod["containers"][0]["env"].as_array().unwrap();
        let device = environment.iter().find(|given| given["name"] == "ULDA_DEVICE")?;
        device["value"].as_str().map(str::to_owned)
    };
    let mut submission = plain();
    for device in [None, Some("cpu"), Some("cuda")] {
        submission.device = device;
        let manifests = render(&submission);
        assert_eq!(told(&manifests, "Job").as_deref(), device);
        assert_eq!(told(&manifests, "StatefulSet"), None);
    }
}

#[test]
fn every_pod_is_restricted_and_needs_no_rights() {
    let mut seen = 0;
    for manifests in all() {
        for pod in manifests.iter().flat_map(|manifest| pods(&manifest.value)) {
            seen += 1;
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            for key in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod.get(key).is_none(), "{key}");
            }
            for container in pod["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false);
                assert_eq!(context["readOnlyRootFilesystem"], true);
                assert_eq!(context["capabilities"]["drop"][0], "ALL");
                assert!(container["resources"]["limits"]["memory"].is_string());
            }
            let volumes: Vec<&str> = pod["volumes"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|volume| volume["name"].as_str())
                .collect();
            for mount in pod["containers"][0]["volumeMounts"].as_array().unwrap() {
                let name = mount["name"].as_str().unwrap();
                assert!(
                    volumes.contains(&name) || name == "state",
                    "{name} is mounted and not there"
                );
            }
        }
    }
    assert_eq!(seen, 8, "a coordinator and workers in each");
}

#[test]
fn every_index_is_a_worker_and_exit_codes_decide() {
    let manifests = render(&plain());
    let spec = &find(&manifests, "Job")["spec"];
    assert_eq!(
        (&spec["completions"], &spec["parallelism"]),
        (&2.into(), &2.into())
    );
    assert_eq!(
        spec["template"]["spec"]["restartPolicy"], "Never",
        "podFailurePolicy asks for it"
    );
    let rules = spec["podFailurePolicy"]["rules"].as_array().unwrap();
    let rule = |code: i64| {
        let matches = |rule: &&Value| {
            let values = rule["onExitCodes"]["values"].as_array();
            values.is_some_and(|values| values.contains(&code.into()))
        };
        rules
            .iter()
            .find(matches)
            .map(|rule| rule["action"].as_str().unwrap())
    };
    assert_eq!(
        [78, 70, 75, 143, 1, 137].map(rule),
        [
            Some("FailJob"),
            Some("FailJob"),
            Some("Ignore"),
            Some("Ignore"),
            None,
            None
        ]
    );
    assert_eq!(rules[0]["onPodConditions"][0]["status"], "True");
    let grace = spec["template"]["spec"]["terminationGracePeriodSeconds"]
        .as_u64()
        .unwrap();
    assert!(grace >= plain().drain.as_secs() + 60);
    let probe = &spec["template"]["spec"]["containers"][0]["livenessProbe"];
    assert_eq!(probe["httpGet"]["port"], "metrics");
}

#[test]
fn pods_speak_by_named_ports_only() {
    let manifests = render(&plain());
    let policies: Vec<&Value> = manifests
        .iter()
        .filter(|manifest| manifest.kind == "NetworkPolicy")
        .map(|manifest| &manifest.value["spec"])
        .collect();
    let deny = policies
        .iter()
        .find(|spec| spec.get("ingress").is_none() && spec.get("egress").is_none())
        .unwrap();
    assert_eq!(
        deny["podSelector"]["matchLabels"]["app.kubernetes.io/instance"],
        "fog"
    );
    assert!(
        deny["podSelector"]["matchLabels"]
            .get("app.kubernetes.io/component")
            .is_none()
    );
    for spec in &policies {
        assert_eq!(spec["policyTypes"], serde_json::json!(["Ingress", "Egress"]));
        for rule in spec["ingress"].as_array().into_iter().flatten() {
            assert!(
                rule["ports"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|port| port["port"].is_string()),
                "{rule}"
            );
            assert!(rule["from"].is_array());
        }
    }
}

#[test]
fn a_run_without_a_shared_claim_keeps_scratch_folders() {
    let mut remote = plain();
    remote.storage = RunStorage::Remote;
    let manifests = render(&remote);
    let volumes = find(&manifests, "Job")["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .unwrap();
    let runs = volumes.iter().find(|volume| volume["name"] == "runs").unwrap();
    assert!(runs["emptyDir"].is_object());
}

#[test]
fn the_plan_names_all_that_will_be_there() {
    let submission = rich(OutputKind::TrainJob);
    let rows = plan(&submission, &render(&submission));
    let row = |name: &str| rows.iter().find(|row| row[0] == name).unwrap()[1].clone();
    assert_eq!(
        row("workers"),
        "8 pods of a TrainJob: each 4 CPU, 16Gi memory, 1 nvidia.com/gpu on NVIDIA-H100-80GB-HBM3"
    );
    assert!(row("objects").contains("TrainingRuntime fog, TrainJob fog"));
}

/// The kustomize base is what this renders, so that both ways to a cluster stay one.
#[test]
fn the_kustomize_base_is_what_is_rendered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes/kustomize/base");
    for manifest in render(&demo()) {
        let mut value = manifest.value.clone();
        value["metadata"].as_object_mut().unwrap().remove("annotations");
        if manifest.kind == "ConfigMap" {
            // kustomize makes it from run.toml.
            continue;
        }
        let file = format!("{}-{}.yaml", manifest.kind.to_lowercase(), manifest.name);
        assert_golden(&folder.join(file), &ulda_kubernetes::to_yaml(&value));
    }
}

fn demo() -> ulda_kubernetes::Submission {
    ulda_kubernetes::Submission {
        run: "ulda".parse().unwrap(),
        image: "ulda:latest".into(),
        threads_per_shard: None,
        data: vec!["ulda-data".parse().unwrap()],
        storage: RunStorage::Shared("ulda-runs".parse().unwrap()),
        ..plain()
    }
}
