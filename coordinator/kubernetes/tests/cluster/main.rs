//! The client against an API server that refuses what a real one refuses.

#![allow(
    clippy::unwrap_used,
    reason = "a test whose bench cannot be set up has failed"
)]

#[path = "../common/mod.rs"]
mod common;
mod ends;
mod follow;
mod needs;
mod reasons;
mod server;
mod shared_pods;

use std::time::Duration;
use ulda_run::{Exit, RunEnd};

use axum::http::Method;
use common::{plain, rich};
use serde_json::{Value, json};
use server::{NAMESPACE, Server};
use ulda_kubernetes::cluster::{
    ApplyOutcome, Blame, Cluster, ClusterError, ClusterLogLine, ClusterRunState, Earnest, Followed,
    Happening, LogOf, NewImages, StateVolume,
};
use ulda_kubernetes::{OutputKind, PodSettings, RunName, Submission, render_submission};

fn run() -> RunName {
    "fog".parse().unwrap()
}

async fn submit(cluster: &Cluster, submission: &Submission) -> Result<Vec<ApplyOutcome>, ClusterError> {
    let manifests = render_submission(submission);
    let applied = cluster.apply(&submission.run, &manifests, Earnest::Apply).await?;
    Ok(applied.into_iter().map(|applied| applied.outcome).collect())
}

fn pod(name: &str, component: &str, index: Option<u32>, status: Value) -> Value {
    let mut labels = json!({
        "app.kubernetes.io/name": "ulda", "app.kubernetes.io/instance": "fog", "app.kubernetes.io/component": component});
    if let Some(index) = index {
        labels["batch.kubernetes.io/job-completion-index"] = index.to_string().into();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "status": status})
}

fn coordinator() -> Value {
    let labels = json!({"app.kubernetes.io/name": "ulda", "app.kubernetes.io/instance": "fog"});
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "fog-coordinator", "labels": labels},
        "spec": {"selector": {}, "serviceName": "fog-coordinator", "template": {}}})
}

fn running() -> Value {
    json!({"phase": "Running", "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true,
        "restartCount": 0, "state": {"running": {}}}]})
}

fn crashed(code: i32, message: &str) -> Value {
    json!({"phase": "Running", "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
        "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": code, "message": message}}}]})
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .expect("waited 20 s")
}

#[tokio::test]
async fn submitting_twice_changes_nothing() {
    let (server, cluster) = Server::start().await;
    let first = submit(&cluster, &plain()).await.unwrap();
    assert!(
        first.iter().all(|outcome| *outcome == ApplyOutcome::Created),
        "{first:?}"
    );
    let before = server.get("jobs", "fog-worker").unwrap();
    let second = submit(&cluster, &plain()).await.unwrap();
    assert!(
        second.iter().all(|outcome| *outcome == ApplyOutcome::There),
        "{second:?}"
    );
    assert_eq!(server.get("jobs", "fog-worker").unwrap(), before);
    server.remove("services", "fog-worker");
    let third = submit(&cluster, &plain()).await.unwrap();
    assert_eq!(
        third
            .iter()
            .filter(|outcome| **outcome == ApplyOutcome::Created)
            .count(),
        1,
        "only what is missing"
    );
}

#[tokio::test]
async fn of_two_submissions_at_once_one_creates_the_run() {
    let (server, cluster) = Server::start().await;
    // Both find the way clear before either creates something.
    server.create_after_rehearsals(2);
    let (one, other) = (plain(), plain());
    let (first, second) =
        within(async { tokio::join!(submit(&cluster, &one), submit(&cluster, &other)) }).await;
    let (created, refused) = match (first, second) {
        (Ok(created), Err(refused)) | (Err(refused), Ok(created)) => (created, refused),
        both => panic!("{both:?}"),
    };
    assert!(created.contains(&ApplyOutcome::Created));
    assert!(
        refused
            .to_string()
            .starts_with("run `fog` is being created by another command: "),
        "{refused}"
    );
    assert_eq!(refused.blame(), Blame::Input);
    assert_eq!(server.names("jobs"), ["fog-worker"]);
}

#[tokio::test]
async fn one_of_two_secrets_is_not_completed_by_one_that_does_not_fit() {
    let (server, cluster) = Server::start().await;
    let mut submission = plain();
    submission.credentials = rich(OutputKind::IndexedJob).credentials;
    submit(&cluster, &submission).await.unwrap();
    server.remove("secrets", "fog-worker-credentials");
    let refused = submit(&cluster, &submission).await.unwrap_err();
    assert!(matches!(refused, ClusterError::HalfSecrets { .. }), "{refused}");
    assert_eq!(server.names("secrets"), ["fog-coordinator-credentials"]);
}

#[tokio::test]
async fn what_is_being_deleted_does_not_count_as_there() {
    let (server, cluster) = Server::start().await;
    submit(&cluster, &plain()).await.unwrap();
    let mut leaving = server.get("jobs", "fog-worker").unwrap();
    leaving["metadata"]["deletionTimestamp"] = "2026-11-26T12:00:00Z".into();
    server.put("jobs", leaving);
    let again = plain();
    let submitted = within(async {
        let gone = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            server.remove("jobs", "fog-worker");
        };
        tokio::join!(submit(&cluster, &again), gone).0
    })
    .await
    .unwrap();
    let created = submitted
        .iter()
        .filter(|outcome| **outcome == ApplyOutcome::Created);
    assert_eq!(created.count(), 1);
    assert!(
        server.get("jobs", "fog-worker").unwrap()["metadata"]
            .get("deletionTimestamp")
            .is_none()
    );
}

#[tokio::test]
async fn another_submission_of_the_same_name_is_refused_before_anything_is_created() {
    let (server, cluster) = Server::start().await;
    submit(&cluster, &plain()).await.unwrap();
    let mut other = plain();
    other.workers = 5;
    other.monitoring.pod_monitor = true;
    let refused = submit(&cluster, &other).await.unwrap_err();
    assert!(matches!(refused, ClusterError::Differs { .. }), "{refused}");
    assert!(server.names("podmonitors").is_empty());
}

#[tokio::test]
async fn what_belongs_to_others_is_left_alone() {
    let (server, cluster) = Server::start().await;
    let theirs =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "fog-coordinator"}, "spec": {}});
    server.put("services", theirs.clone());
    let refused = submit(&cluster, &plain()).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("Service `fog-coordinator` is there already and belongs to something else")
    );
    assert!(server.names("configmaps").is_empty());
}

#[tokio::test]
async fn refusals_get_a_sentence_with_a_remedy() {
    let (server, cluster) = Server::start().await;
    let missing = submit(&cluster, &rich(OutputKind::JobSet)).await.unwrap_err();
    let hint = missing.hint().unwrap_or_default();
    assert!(
        hint.contains("install the Prometheus operator"),
        "{missing}: {hint}"
    );
    assert!(server.names("configmaps").is_empty(), "nothing is half done");
    server.install("monitoring.coreos.com");
    let missing = submit(&cluster, &rich(OutputKind::JobSet)).await.unwrap_err();
    let hint = missing.hint().unwrap_or_default();
    assert!(
        hint.contains("install JobSet, or leave --output-kind out"),
        "{missing}: {hint}"
    );
    server.forbid(Method::POST, "statefulsets");
    let refused = submit(&cluster, &plain()).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("not allowed to create StatefulSet `fog-coordinator`"),
        "{refused}"
    );
    assert_eq!(refused.blame(), Blame::Input);
    let none = cluster.run(&"snow".parse().unwrap()).await.unwrap_err();
    assert_eq!(
        none.to_string().lines().next(),
        Some("there is no run `snow` in namespace `vision`")
    );
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_named() {
    let (_server, cluster) = Server::start().await;
    let elsewhere = cluster.elsewhere("nowhere");
    let refused = submit(&elsewhere, &plain()).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("namespace `nowhere` does not exist"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_field_that_the_server_does_not_know_is_not_dropped() {
    let (_server, cluster) = Server::start().await;
    let mut manifests = render_submission(&plain());
    let job = manifests.last_mut().unwrap();
    job.value["spec"]["template"]["spec"]["restartPolice"] = "Never".into();
    let refused = cluster
        .apply(&run(), &manifests, Earnest::Apply)
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("unknown field \".spec.template.spec.restartPolice\""),
        "{refused}"
    );
}

#[tokio::test]
async fn a_dry_run_creates_nothing() {
    let (server, cluster) = Server::start().await;
    cluster
        .apply(&run(), &render_submission(&plain()), Earnest::DryRun)
        .await
        .unwrap();
    assert!(server.names("statefulsets").is_empty());
}

#[tokio::test]
async fn a_server_that_is_down_is_told_from_a_wrong_request() {
    let gone = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let client = kube::Client::try_from(gone).unwrap();
    let cluster = Cluster::new(client, NAMESPACE.into(), "http://127.0.0.1:9".into());
    let refused = within(cluster.runs()).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("the cluster's API at http://127.0.0.1:9 cannot be reached"),
        "{refused}"
    );
    assert_eq!(refused.blame(), Blame::Passing);
}

#[tokio::test]
async fn a_run_is_stopped_resumed_and_deleted() {
    let (server, cluster) = Server::start().await;
    submit(&cluster, &plain()).await.unwrap();
    let submitted = server.get("jobs", "fog-worker").unwrap();
    within(cluster.stop(&run())).await.unwrap();
    assert!(server.names("jobs").is_empty());
    let set = |server: &Server| server.get("statefulsets", "fog-coordinator").unwrap();
    assert_eq!(set(&server)["spec"]["replicas"], 0);
    assert_eq!(cluster.run(&run()).await.unwrap().state, ClusterRunState::Stopped);

    within(cluster.resume(&run(), "7", &NewImages::default()))
        .await
        .unwrap();
    assert_eq!(
        server.get("jobs", "fog-worker").unwrap()["spec"],
        submitted["spec"]
    );
    let resumed = set(&server);
    assert_eq!(resumed["spec"]["replicas"], 1);
    let container = &resumed["spec"]["template"]["spec"]["containers"][0];
    assert!(
        container["args"].is_array(),
        "the rest of the container is as it was"
    );
    let attempt = json!({"name": "ULDA_ATTEMPT", "value": "7"});
    assert!(container["env"].as_array().unwrap().contains(&attempt));

    let mut failed = server.get("jobs", "fog-worker").unwrap();
    failed["status"] = json!({"conditions": [{"type": "Failed", "status": "True"}]});
    server.put("jobs", failed);
    server.put("pods", pod("fog-coordinator-0", "coordinator", None, running()));
    within(cluster.resume(&run(), "8", &NewImages::default()))
        .await
        .unwrap();
    assert!(
        server.names("pods").is_empty(),
        "the coordinator that tells of the failure is gone"
    );
    assert_eq!(set(&server)["spec"]["replicas"], 1);
    assert!(
        server.get("jobs", "fog-worker").unwrap().get("status").is_none(),
        "a Job that ended is created anew"
    );

    let claim = json!({"metadata": {"name": "state-fog-coordinator-0", "labels": {
        "app.kubernetes.io/name": "ulda", "app.kubernetes.io/instance": "fog"}}});
    server.put("persistentvolumeclaims", claim);
    let kept = cluster.delete(&run(), StateVolume::Keep).await.unwrap();
    assert_eq!(kept[0].kind, "Job", "workers go first");
    assert_eq!(server.names("persistentvolumeclaims").len(), 1);
    for plural in [
        "jobs",
        "statefulsets",
        "services",
        "configmaps",
        "networkpolicies",
        "secrets",
    ] {
        assert!(server.names(plural).is_empty(), "{plural} are left");
    }
    cluster.delete(&run(), StateVolume::Delete).await.unwrap();
    assert!(server.names("persistentvolumeclaims").is_empty());
    let none = cluster.delete(&run(), StateVolume::Keep).await.unwrap_err();
    assert!(matches!(none, ClusterError::NoRun { .. }), "{none}");
}

#[tokio::test]
async fn a_workers_log_goes_on_with_the_pod_that_replaced_it() {
    let (server, cluster) = Server::start().await;
    submit(&cluster, &plain()).await.unwrap();
    let worker = LogOf::Worker(run(), 1);
    let nobody = cluster.log(&worker, None).await.unwrap_err();
    assert!(nobody.to_string().contains("no pod for slot 1"), "{nobody}");
    server.put("pods", pod("fog-worker-1-abc", "worker", Some(1), running()));
    server.log("fog-worker-1-abc", "first");
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let following = tokio::spawn(async move {
        let mut tell = |line: String| told.send(line).is_ok();
        cluster.follow_log(&worker, &mut tell).await
    });
    assert_eq!(within(heard.recv()).await.unwrap(), "first");
    server.remove("pods", "fog-worker-1-abc");
    server.put("pods", pod("fog-worker-0-xyz", "worker", Some(0), running()));
    server.log("fog-worker-0-xyz", "another slot's");
    server.put("pods", pod("fog-worker-1-def", "worker", Some(1), running()));
    // Its clock is behind: the stamps begin anew.
    server.log("fog-worker-1-def", "second");
    assert_eq!(within(heard.recv()).await.unwrap(), "second");
    following.abort();
}

#[tokio::test]
async fn the_log_of_a_run_that_is_not_there_is_refused_with_the_way_to_the_list() {
    let (server, cluster) = Server::start().await;
    let told = "there is no run `fog` in namespace `vision`";
    let hint = "`coordinator cluster list -n vision` shows those that are there";
    for of in [LogOf::Coordinator(run()), LogOf::Worker(run(), 0)] {
        let mut tell = |_: String| true;
        let refused = [
            within(cluster.log(&of, None)).await.err(),
            within(cluster.follow_log(&of, &mut tell)).await.err(),
        ];
        for cause in refused {
            let cause = cause.expect("there is no such run");
            assert_eq!(cause.to_string(), told);
            assert_eq!(cause.hint().as_deref(), Some(hint));
            assert_eq!(cause.blame(), Blame::Input);
        }
    }
    // A run that is deleted while somebody reads ends the reading.
    submit(&cluster, &plain()).await.unwrap();
    let of = LogOf::Coordinator(run());
    let none = within(cluster.log(&of, None)).await.unwrap_err();
    assert!(none.to_string().contains("no pod for its coordinator"), "{none}");
    server.put("pods", pod("fog-coordinator-0", "coordinator", None, running()));
    server.log("fog-coordinator-0", "first");
    let mut tell = |_| {
        server.remove("statefulsets", "fog-coordinator");
        server.remove("pods", "fog-coordinator-0");
        true
    };
    let gone = within(cluster.follow_log(&of, &mut tell)).await.unwrap_err();
    assert_eq!(gone.to_string(), told);
}

#[tokio::test]
async fn a_train_job_waits_until_its_webhook_knows_the_runtime() {
    let (server, cluster) = Server::start().await;
    for group in ["trainer.kubeflow.org", "monitoring.coreos.com"] {
        server.install(group);
    }
    server.deny_next(
        "trainjobs",
        "spec.runtimeRef: Invalid value: TrainingRuntime.trainer.kubeflow.org \"fog-worker\" not found: specified \
         trainingRuntime must be created before the TrainJob is created",
    );
    within(submit(&cluster, &rich(OutputKind::TrainJob)))
        .await
        .unwrap();
    assert_eq!(server.names("trainjobs"), ["fog"]);

    server.remove("trainjobs", "fog");
    server.deny_next("trainjobs", "spec.trainer: too many nodes");
    let refused = within(submit(&cluster, &rich(OutputKind::TrainJob)))
        .await
        .unwrap_err();
    assert!(matches!(refused, ClusterError::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("too many nodes"), "{refused}");
}

#[tokio::test]
async fn runs_are_listed_with_their_state_and_progress() {
    let (server, cluster) = Server::start().await;
    submit(&cluster, &plain()).await.unwrap();
    assert_eq!(cluster.runs().await.unwrap()[0].state, ClusterRunState::Starting);
    server.put("pods", pod("fog-coordinator-0", "coordinator", None, running()));
    server.log(
        "fog-coordinator-0",
        r#"{"level":"INFO","message":"gathering workers: 0 of 2"}"#,
    );
    let waiting = cluster.run(&run()).await.unwrap();
    assert_eq!(
        (waiting.state, waiting.why.as_str()),
        (ClusterRunState::Waiting, "gathering workers: 0 of 2")
    );
    server.put("pods", pod("fog-worker-1-x", "worker", Some(1), running()));
    let progress = json!({"level": "INFO", "event": "progress.v1", "stage": "adapt", "step": 3, "steps": 4});
    server.log("fog-coordinator-0", &progress.to_string());
    let training = cluster.run(&run()).await.unwrap();
    assert_eq!(training.state, ClusterRunState::Training);
    assert_eq!((training.workers_running, training.workers_wanted), (1, 2));
    assert_eq!(training.progress.unwrap().step, 3);
    server.put(
        "pods",
        pod("fog-worker-9-x", "worker", Some(9), json!({"phase": "Pending"})),
    );
    let waiting = LogOf::Worker(run(), 9);
    assert_eq!(cluster.log(&waiting, None).await.unwrap(), "", "no container yet");
}

#[tokio::test]
async fn a_verb_without_all_its_rights_changes_nothing() {
    let (server, cluster) = Server::start().await;
    submit(&cluster, &plain()).await.unwrap();
    let claim = json!({"metadata": {"name": "state-fog-coordinator-0", "labels": {
        "app.kubernetes.io/name": "ulda", "app.kubernetes.io/instance": "fog"}}});
    server.put("persistentvolumeclaims", claim);
    server.forbid(Method::PATCH, "statefulsets");
    server.forbid(Method::DELETE, "persistentvolumeclaims");
    let stop = within(cluster.stop(&run())).await.unwrap_err();
    assert_eq!(
        stop.to_string(),
        "not allowed to patch statefulsets: no role grants it; nothing was changed"
    );
    assert!(stop.hint().unwrap().starts_with("docs/operate.md"), "{stop:?}");
    let resume = within(cluster.resume(&run(), "7", &NewImages::default()))
        .await
        .unwrap_err();
    let delete = cluster.delete(&run(), StateVolume::Delete).await.unwrap_err();
    assert!(
        delete
            .to_string()
            .starts_with("not allowed to delete persistentvolumeclaims: "),
        "{delete}"
    );
    for refused in [stop, resume, delete] {
        assert_eq!(refused.blame(), Blame::Input, "{refused}");
    }
    assert_eq!(server.names("jobs"), ["fog-worker"]);
    assert_eq!(server.names("statefulsets"), ["fog-coordinator"]);
    // Without the claim it may.
    cluster.delete(&run(), StateVolume::Keep).await.unwrap();
    assert!(server.names("statefulsets").is_empty());
}
