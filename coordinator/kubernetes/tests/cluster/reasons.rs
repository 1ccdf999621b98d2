//! Why a run does not go on, found where the cluster keeps it: nodes, Jobs, pods, events.

use super::*;

#[tokio::test]
async fn a_node_that_does_not_answer_costs_the_log_of_its_pods_and_nothing_else() {
    let (server, cluster) = Server::start().await;
    for name in ["fog", "rain", "snow"] {
        let mut submission = plain();
        submission.run = name.parse().unwrap();
        submit(&cluster, &submission).await.unwrap();
        let coordinator = format!("{name}-coordinator-0");
        let mut pod = pod(&coordinator, "coordinator", None, running());
        pod["metadata"]["labels"]["app.kubernetes.io/instance"] = name.into();
        server.put("pods", pod);
        let over = r#"{"level":"INFO","event":"run-ended.v1","state":"finished","digest":"ab"}"#;
        server.log(&coordinator, over);
    }
    server.lose_kubelet_of("fog-coordinator-0", true);
    server.lose_kubelet_of("rain-coordinator-0", false);
    let runs = within(cluster.runs()).await.unwrap();
    let states: Vec<ClusterRunState> = runs.iter().map(|run| run.state).collect();
    assert_eq!(
        states,
        [
            ClusterRunState::Unknown,
            ClusterRunState::Unknown,
            ClusterRunState::Finished
        ]
    );
    let why = runs[0].log_missing.as_deref().unwrap();
    assert!(
        why.starts_with("the log of pod `fog-coordinator-0` cannot be read: Get \"https://10.0.0.7:10250/"),
        "{why}"
    );
    assert!(
        why.contains("connection refused; hint: its node may be down"),
        "{why}"
    );
    let why = runs[1].log_missing.as_deref().unwrap();
    assert!(
        why.contains("`rain-coordinator-0` cannot be read: no answer within 10 s"),
        "{why}"
    );

    let status = within(cluster.run(&run())).await.unwrap();
    assert_eq!(status.pods.len(), 1, "the rest is shown");
    let refused = within(cluster.log(&LogOf::Coordinator(run()), None))
        .await
        .unwrap_err();
    assert!(matches!(refused, ClusterError::NoLog { .. }), "{refused}");
    assert_eq!(refused.blame(), Blame::Passing);
}

#[tokio::test]
async fn workers_that_failed_for_good_end_the_run_with_the_sentence_of_one() {
    let (server, cluster) = Server::start().await;
    submit(&cluster, &plain()).await.unwrap();
    server.put("pods", pod("fog-coordinator-0", "coordinator", None, running()));
    server.log(
        "fog-coordinator-0",
        r#"{"level":"INFO","message":"gathering workers: 0 of 2"}"#,
    );
    assert_eq!(cluster.run(&run()).await.unwrap().state, ClusterRunState::Waiting);
    let last_line =
        r#"{"level":"ERROR","message":"no GPU: no driver; hint: take another node","exit_code":78}"#;
    let ended = json!({"phase": "Failed", "containerStatuses": [{"name": "c", "image": "", "imageID": "",
        "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 78, "reason": "Error",
        "message": last_line}}}]});
    server.put("pods", pod("fog-worker-1-x", "worker", Some(1), ended));
    let mut job = server.get("jobs", "fog-worker").unwrap();
    job["status"] = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "PodFailurePolicy",
        "message": "Container worker for pod vision/fog-worker-1-x failed with exit code 78 matching FailJob rule"}]});
    server.put("jobs", job);

    let told = "worker 1 failed for good: exit code 78: no GPU: no driver; hint: take another node";
    for run in [
        cluster.run(&run()).await.unwrap(),
        cluster.runs().await.unwrap().remove(0),
    ] {
        assert_eq!((run.state, run.why.as_str()), (ClusterRunState::Failed, told));
    }
    let mut tell = |_| {};
    let end = within(cluster.follow(&run(), &mut tell)).await.unwrap();
    let failed = RunEnd::Failed {
        why: told.into(),
        exit: Exit::BadInput,
    };
    assert_eq!(end, Followed::Over(failed));

    // Its pod may be deleted before the Job is.
    server.remove("pods", "fog-worker-1-x");
    let run = cluster.run(&run()).await.unwrap();
    assert!(
        run.why
            .starts_with("the workers failed for good: Container worker for pod"),
        "{}",
        run.why
    );
}

#[tokio::test]
async fn a_coordinator_that_cannot_start_fails_the_run() {
    let (server, cluster) = Server::start().await;
    submit(&cluster, &plain()).await.unwrap();
    let coordinator =
        |status: Value| server.put("pods", pod("fog-coordinator-0", "coordinator", None, status));
    let message = "error: `clip.checkpoint`: no such file\n  hint: correct the path";
    coordinator(crashed(78, message));
    let told =
        "the coordinator cannot start: exit code 78: `clip.checkpoint`: no such file; hint: correct the path";
    for run in [
        cluster.run(&run()).await.unwrap(),
        cluster.runs().await.unwrap().remove(0),
    ] {
        assert_eq!((run.state, run.why.as_str()), (ClusterRunState::Failed, told));
    }
    // Between two crashes it is another try, perhaps with what was missing.
    let mut again = crashed(78, message);
    again["containerStatuses"][0]["state"] = json!({"running": {}});
    coordinator(again);
    let run_again = cluster.run(&run()).await.unwrap();
    assert_eq!(run_again.state, ClusterRunState::Starting);
    assert!(
        run_again.why.starts_with("started again after exit code 78: "),
        "{}",
        run_again.why
    );
    // What may pass is waited for; what fails for an unknown cause is, for a few times.
    for (code, restarts, state) in [
        (75, 9, ClusterRunState::Starting),
        (1, 2, ClusterRunState::Starting),
        (1, 3, ClusterRunState::Failed),
    ] {
        let mut status = crashed(code, message);
        status["containerStatuses"][0]["restartCount"] = restarts.into();
        coordinator(status);
        assert_eq!(
            cluster.run(&run()).await.unwrap().state,
            state,
            "{code} after {restarts}"
        );
    }
}

/// A controller's event on an object.
fn event(server: &Server, name: &str, object: (&str, &str, &Value), reason: &str, message: &str) {
    let (kind, object, uid) = object;
    let severity = if reason == "FailedCreate" {
        "Warning"
    } else {
        "Normal"
    };
    server.put(
        "events",
        json!({"metadata": {"name": name}, "type": severity, "reason": reason, "message": message,
            "lastTimestamp": "2026-11-26T12:00:00Z", "involvedObject": {"kind": kind, "name": object, "uid": uid}}),
    );
}

#[tokio::test]
async fn a_quota_that_refuses_the_pods_of_controllers_is_told() {
    let (server, cluster) = Server::start().await;
    submit(&cluster, &plain()).await.unwrap();
    let uid = |plural: &str, name: &str| server.get(plural, name).unwrap()["metadata"]["uid"].clone();
    let set = (
        "StatefulSet",
        "fog-coordinator",
        &uid("statefulsets", "fog-coordinator"),
    );
    let refused = "create Pod fog-coordinator-0 in StatefulSet fog-coordinator failed error: pods \"fog-coordinator-0\" \
                   is forbidden: maximum memory usage per Container is 512Mi, but limit is 1Gi";
    event(&server, "a", set, "FailedCreate", refused);
    // One of an earlier run of this name, and one of another run.
    event(
        &server,
        "b",
        (set.0, set.1, &json!("uid-0")),
        "FailedCreate",
        "long ago",
    );
    let job = ("Job", "fog-worker", &uid("jobs", "fog-worker"));
    let refused = "Error creating: pods \"fog-worker-0-x\" is forbidden: exceeded quota: gpus, requested: \
                   requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8";
    event(&server, "c", job, "FailedCreate", refused);

    let blocked = cluster.run(&run()).await.unwrap();
    let told = "no pod can be created: maximum memory usage per Container is 512Mi, but limit is 1Gi";
    assert_eq!(
        (blocked.state, blocked.why.as_str()),
        (ClusterRunState::Starting, told)
    );
    let told = "no pod can be created: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, used: \
                requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8";
    assert_eq!(blocked.workers_why, told);
    assert_eq!(cluster.runs().await.unwrap().remove(0).workers_why, told);

    server.forbid(Method::GET, "events");
    let unexplained = cluster.run(&run()).await.unwrap();
    assert_eq!(unexplained.why, "its coordinator's pod is not there");
}

#[tokio::test]
async fn a_job_that_waits_for_admission_is_told_with_the_queues_reason() {
    let (server, cluster) = Server::start().await;
    let mut submission = plain();
    submission.queue = Some("team-a".parse().unwrap());
    submit(&cluster, &submission).await.unwrap();
    let waiting = cluster.run(&run()).await.unwrap();
    assert_eq!(waiting.workers_why, "not admitted by Kueue's queue `team-a` yet");
    let message = "couldn't assign flavors to pod set main: insufficient quota for nvidia.com/gpu";
    event(
        &server,
        "a",
        ("Workload", "job-fog-worker-1a2b3", &json!("w")),
        "Pending",
        message,
    );
    event(
        &server,
        "b",
        ("Workload", "job-fog-worker-2-1a2b3", &json!("x")),
        "Pending",
        "another run's",
    );
    let waiting = cluster.run(&run()).await.unwrap();
    assert_eq!(waiting.workers_why, format!("not admitted by Kueue: {message}"));

    let told = std::sync::Mutex::new(Vec::new());
    let run = run();
    let mut tell = |happening| told.lock().unwrap().push(happening);
    let told_why = async {
        until(|| {
            let told = told.lock().unwrap();
            told.contains(&Happening::Workers(format!(
                "none yet; not admitted by Kueue: {message}"
            )))
        })
        .await;
    };
    within(async {
        tokio::select! {
            end = cluster.follow(&run, &mut tell) => panic!("{end:?}"),
            () = told_why => {}
        }
    })
    .await;
}
