//! `coordinator submit`, up to where a cluster would be asked.

use super::bench::{Bench, assert_snapshot, told};

const GOOD: [&str; 11] = [
    "submit",
    "--workers=2",
    "--image=registry.local/ulda:0.1.0",
    "--data-claim=data",
    "--run-claim=results",
    "--set=run.name=fog",
    "--set=source.root=city",
    "--set=clip.checkpoint=clip.pt",
    "--set=evaluate.set.0.root=acdc",
    "--set=evaluate.set.1.root=acdc",
    "--dry-run",
];

fn with(more: &[&str]) -> String {
    let bench = Bench::new();
    let mut arguments = GOOD.to_vec();
    arguments.extend(more);
    told(&bench, &bench.output(&arguments))
}

#[test]
fn the_plan_is_shown_before_anything_is_done() {
    assert_snapshot("submit-plan.txt", &with(&[]));
}

#[test]
fn what_is_submitted_leaves_nothing_open() {
    let said = with(&["-o", "yaml"]);
    assert!(said.starts_with("exit 0\napiVersion: v1\n"), "{said}");
    for line in [
        "root = \"/data/city\"",
        "directory = \"/var/lib/ulda/runs\"",
        "shards = 2",
        "threads_per_shard = 1",
    ] {
        assert!(said.contains(line), "{line} is missing in {said}");
    }
    let elsewhere = with(&["-n", "vision", "-o", "yaml"]);
    assert!(elsewhere.contains("namespace: vision"), "{elsewhere}");
    let json: serde_json::Value = {
        let bench = Bench::new();
        let arguments: Vec<&str> = GOOD.into_iter().chain(["-o", "json"]).collect();
        serde_json::from_slice(&bench.output(&arguments).stdout).unwrap()
    };
    assert_eq!(json["kind"], "List");
}

#[test]
fn what_cannot_be_submitted_gets_its_sentence() {
    for (more, exit, sentence) in [
        (
            &["--set=run.name=Fog_1"][..],
            78,
            "`run.name` is `Fog_1`, which no pod can be named after: it holds `F`",
        ),
        (
            &["--set=source.root=/home/me/city"],
            78,
            "`source.root` is `/home/me/city`, which no pod has",
        ),
        (
            &["--data-claim=more"],
            78,
            "--data-claim is given twice for /data",
        ),
        (
            &["--gpu-type=H100"],
            78,
            "--gpu-type H100 without a GPU\n  hint: add --gpus-per-worker 1",
        ),
        (&["--cpus-per-worker=500m"], 78, "hint: give at least 1"),
        (
            &["--set=adapt.stpes=3"],
            78,
            "the nearest known key is `adapt.steps`",
        ),
        (&["--namespace=Vision"], 2, "'Vision' for '--namespace <NAME>'"),
        (
            &["--memory-per-worker=16 GB"],
            2,
            "give a number such as 4, 500m, 16Gi",
        ),
        (&["--gpus-per-worker=8"], 2, "8 is not in 0..=1"),
        (
            &["--workers-per-pod=3"],
            78,
            "2 workers do not fill pods of 3\n  hint: --workers must be a multiple of --workers-per-pod",
        ),
        (&["--user=0"], 2, "give a number from 1 to 2147483647, or any"),
        (&["--pod-settings=nowhere.yaml"], 78, "cannot read nowhere.yaml: "),
        (
            &["--pod-settings=/dev/zero"],
            78,
            "cannot read /dev/zero: it is a device",
        ),
        (&["--data-claim=x:/etc/ulda"], 2, "keep their own files"),
    ] {
        let said = with(more);
        assert!(
            said.starts_with(&format!("exit {exit}\n")) && said.contains(sentence),
            "{more:?}: {said}"
        );
    }
    let bench = Bench::new();
    let said = told(
        &bench,
        &bench.output(&[
            "submit",
            "--workers=2",
            "--image=ulda",
            "--set=run.name=fog",
            "--data-claim=d:/d",
        ]),
    );
    assert!(
        said.contains("hint: mount the claim that holds it with --data-claim")
            || said.contains("--run-claim"),
        "{said}"
    );
}

#[test]
fn pod_settings_come_into_the_pods_and_a_wrong_one_is_named() {
    let bench = Bench::new();
    let path = bench.path("pods.yaml");
    let file = format!("--pod-settings={}", path.display());
    let with_file = |text: &str, more: &[&str]| {
        std::fs::write(&path, text).unwrap();
        let mut arguments = GOOD.to_vec();
        arguments.push(&file);
        arguments.extend(more);
        told(&bench, &bench.output(&arguments))
    };
    let settings = "imagePullSecrets: [{name: mirror}]\ngpu: {resource: amd.com/gpu}\ncoordinator: {memory: 3Gi}\n\
                    workers: {nodeSelector: {pool: a, zone: b}, tolerations: [{key: dedicated, operator: Exists}]}\n";
    let said = with_file(
        settings,
        &[
            "-o",
            "yaml",
            "--gpus-per-worker=1",
            "--pull-secret=registry",
            "--node-selector=pool=c",
            "--workers-per-pod=2",
            "--user=any",
        ],
    );
    for line in [
        "amd.com/gpu: \"2\"",
        "key: dedicated",
        "pool: c",
        "zone: b",
        "memory: \"3Gi\"",
        "- name: mirror",
        "- name: registry",
        "--processes=2",
    ] {
        assert!(said.contains(line), "{line} is missing in {said}");
    }
    assert!(!said.contains("runAsUser"), "{said}");
    let wrong = with_file("workers: {tolerations: [{kye: a}]}", &[]);
    assert!(
        wrong.starts_with("exit 78\nerror: ")
            && wrong.contains("pods.yaml: `workers.tolerations[0].kye` is no pod setting\n  hint: "),
        "{wrong}"
    );
    let elsewhere = with_file("queue: a", &[]);
    assert!(
        elsewhere.contains("`queue` is not set in this file\n  hint: use --queue"),
        "{elsewhere}"
    );
}

#[test]
fn without_a_cluster_the_remedy_is_told() {
    let bench = Bench::new();
    let mut command = bench.command(&["cluster", "list"]);
    command
        .env("KUBECONFIG", bench.path("none"))
        .env("HOME", bench.folder.path());
    command.env_remove("KUBERNETES_SERVICE_HOST");
    let said = told(&bench, &command.output().unwrap());
    assert!(
        said.starts_with("exit 78\nerror: no cluster is configured: "),
        "{said}"
    );
    assert!(said.contains("hint: point KUBECONFIG to a kubeconfig"), "{said}");
}
