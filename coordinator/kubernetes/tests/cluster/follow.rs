//! Following a run to its end, through whatever happens to the server.

use super::*;

/// What `follow` tells, while the test plays the cluster.
async fn followed(
    server: Server,
    cluster: Cluster,
    play: impl AsyncFnOnce(&Server),
) -> (Result<Followed, ClusterError>, Vec<Happening>) {
    server.put("statefulsets", coordinator());
    let mut happenings = Vec::new();
    let run = run();
    let mut tell = |happening| happenings.push(happening);
    let (end, ()) = within(async { tokio::join!(cluster.follow(&run, &mut tell), play(&server)) }).await;
    (end, happenings)
}

#[tokio::test]
async fn a_run_is_followed_through_broken_streams_to_its_end() {
    let (server, cluster) = Server::start().await;
    // Each watch and each log stream ends after one thing was told.
    server.end_watches_after(1);
    server.end_streams_after(2);
    let (end, happenings) = followed(server, cluster, async |server| {
        server.put("pods", pod("fog-coordinator-0", "coordinator", None, running()));
        for index in 0..3 {
            server.put(
                "pods",
                pod(&format!("fog-worker-{index}-x"), "worker", Some(index), running()),
            );
        }
        for step in 1..=4 {
            let line =
                json!({"level": "INFO", "event": "progress.v1", "stage": "adapt", "step": step, "steps": 4});
            server.log("fog-coordinator-0", &line.to_string());
        }
        let over = json!({"level": "INFO", "event": "run-ended.v1", "state": "finished", "digest": "ab"});
        server.log("fog-coordinator-0", &over.to_string());
    })
    .await;
    assert_eq!(
        end.unwrap(),
        Followed::Over(RunEnd::Finished { digest: "ab".into() })
    );
    let steps: Vec<u64> = happenings
        .iter()
        .filter_map(|happening| match happening {
            Happening::Line(ClusterLogLine::Progress(progress)) => Some(progress.step),
            _ => None,
        })
        .collect();
    assert_eq!(steps, [1, 2, 3, 4], "each line once, in order");
    assert!(
        happenings.contains(&Happening::Workers("3 running".into())),
        "{happenings:?}"
    );
}

#[tokio::test]
async fn a_run_that_is_not_there_cannot_be_followed() {
    let (_server, cluster) = Server::start().await;
    let mut tell = |_| {};
    let refused = within(cluster.follow(&run(), &mut tell)).await.unwrap_err();
    assert!(matches!(refused, ClusterError::NoRun { .. }), "{refused}");
}

#[tokio::test]
async fn a_watch_that_is_too_old_begins_anew_with_a_list() {
    let (server, cluster) = Server::start().await;
    server.end_watches_after(1);
    let requests = server.clone();
    let (end, happenings) = followed(server, cluster, async |server| {
        let watches = || {
            requests
                .requests()
                .iter()
                .filter(|request| request.ends_with("/pods"))
                .count()
        };
        until(|| watches() >= 2).await;
        // The watch that stands ends with this; what follows is forgotten before it is taken up again.
        let mut store_is_older = false;
        for index in 0..4 {
            server.put(
                "pods",
                pod(&format!("fog-worker-{index}-x"), "worker", Some(index), running()),
            );
            if !store_is_older {
                server.compact();
                store_is_older = true;
            }
        }
        server.compact();
        until(|| watches() >= 4).await;
        server.log(
            "fog-coordinator-0",
            r#"{"level":"ERROR","event":"run-ended.v1","state":"failed","why":"no data","exit_code":78}"#,
        );
    })
    .await;
    let failed = RunEnd::Failed {
        why: "no data".into(),
        exit: Exit::BadInput,
    };
    assert_eq!(end.unwrap(), Followed::Over(failed));
    assert!(
        happenings.contains(&Happening::Workers("4 running".into())),
        "{happenings:?}"
    );
}

#[tokio::test]
async fn a_coordinator_that_refuses_its_configuration_ends_the_following() {
    let (server, cluster) = Server::start().await;
    let (end, _) = followed(server, cluster, async |server| {
        let crashed = crashed(78, "error: data set folder `/data/city` does not exist");
        server.put("pods", pod("fog-coordinator-0", "coordinator", None, crashed));
    })
    .await;
    let Followed::Over(RunEnd::Failed {
        why,
        exit: Exit::BadInput,
    }) = end.unwrap()
    else {
        panic!("not failed with 78")
    };
    assert!(why.contains("`/data/city` does not exist"), "{why}");
}

#[tokio::test]
async fn a_server_that_is_unwell_for_a_moment_does_not_end_the_following() {
    let (server, cluster) = Server::start().await;
    server.break_down(3);
    let (end, _) = followed(server, cluster, async |server| {
        let over = r#"{"level":"INFO","event":"run-ended.v1","state":"finished","digest":"ab"}"#;
        server.log("fog-coordinator-0", over);
    })
    .await;
    assert!(
        matches!(end, Ok(Followed::Over(RunEnd::Finished { .. }))),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_server_that_starts_anew_and_denies_for_a_while_does_not_end_the_following() {
    let (server, cluster) = Server::start().await;
    server.end_watches_after(1);
    server.end_streams_after(1);
    let (end, happenings) = followed(server, cluster, async |server| {
        server.put("pods", pod("fog-coordinator-0", "coordinator", None, running()));
        server.log(
            "fog-coordinator-0",
            r#"{"level":"INFO","message":"gathering workers"}"#,
        );
        let watched = |request: &String| request.ends_with("/pods");
        until(|| {
            server
                .requests()
                .iter()
                .filter(|request| watched(request))
                .count()
                >= 2
        })
        .await;
        // Watch and log end with the server; the one that starts denies both.
        server.start_anew(5);
        server.log(
            "fog-coordinator-0",
            r#"{"level":"INFO","message":"gathering workers"}"#,
        );
        server.put("pods", pod("fog-worker-0-x", "worker", Some(0), running()));
        until(|| !server.is_starting()).await;
        let over = r#"{"level":"INFO","event":"run-ended.v1","state":"finished","digest":"ab"}"#;
        server.log("fog-coordinator-0", over);
    })
    .await;
    assert!(
        matches!(end, Ok(Followed::Over(RunEnd::Finished { .. }))),
        "{end:?}"
    );
    assert!(
        happenings.contains(&Happening::Workers("1 running".into())),
        "{happenings:?}"
    );
}

#[tokio::test]
async fn who_may_not_watch_is_told_so_at_once() {
    let (server, cluster) = Server::start().await;
    server.forbid(Method::GET, "pods");
    let (end, _) = followed(server, cluster, async |_| {}).await;
    assert!(matches!(end, Err(ClusterError::Forbidden { .. })), "{end:?}");
}
