//! Workers that share a pod: counted, named and read by their slots.

use super::*;

fn shared() -> Submission {
    Submission {
        workers: 8,
        workers_per_pod: 4,
        ..plain()
    }
}

fn pod_of_four(name: &str, index: u32, status: Value) -> Value {
    let mut pod = pod(name, "worker", Some(index), status);
    pod["spec"] = json!({"containers": [{"name": "worker", "args": ["join", "--processes=4"]}]});
    pod
}

#[tokio::test]
async fn workers_are_counted_and_their_lines_are_found_by_slot() {
    let (server, cluster) = Server::start().await;
    submit(&cluster, &shared()).await.unwrap();
    let job = server.get("jobs", "fog-worker").unwrap();
    assert_eq!(job["spec"]["completions"], 2);
    server.put("pods", pod_of_four("fog-worker-1-x", 1, running()));
    let line = |slot: u32, text: &str| {
        json!({"level": "INFO", "message": text, "spans": [{"name": "worker", "run": "fog", "slot": slot}]})
            .to_string()
    };
    for text in [line(4, "four"), line(6, "six"), "from the group".to_owned()] {
        server.log("fog-worker-1-x", &text);
    }
    let view = cluster.run(&run()).await.unwrap();
    assert_eq!((view.workers_running, view.workers_wanted), (4, 8));
    let log = cluster.log(&LogOf::Worker(run(), 6), None).await.unwrap();
    assert_eq!(log, format!("{}\nfrom the group\n", line(6, "six")));
    let none = cluster.log(&LogOf::Worker(run(), 3), None).await.unwrap_err();
    assert!(none.to_string().contains("no pod for slot 3"), "{none}");
}

#[tokio::test]
async fn a_pod_that_fails_for_good_names_its_workers() {
    let (server, cluster) = Server::start().await;
    submit(&cluster, &shared()).await.unwrap();
    let last_line = r#"{"level":"ERROR","message":"no GPU: no driver","exit_code":78}"#;
    let ended = json!({"phase": "Failed", "containerStatuses": [{"name": "c", "image": "", "imageID": "",
        "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 78, "reason": "Error",
        "message": last_line}}}]});
    server.put("pods", pod_of_four("fog-worker-1-x", 1, ended));
    let mut job = server.get("jobs", "fog-worker").unwrap();
    job["status"] =
        json!({"conditions": [{"type": "Failed", "status": "True", "message": "fog-worker-1-x failed"}]});
    server.put("jobs", job);
    let run = cluster.run(&run()).await.unwrap();
    assert_eq!(
        run.why,
        "workers 4 to 7 failed for good: exit code 78: no GPU: no driver"
    );
}
