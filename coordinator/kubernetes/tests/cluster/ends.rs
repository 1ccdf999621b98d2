//! Runs that are over and stopped, and runs that go on with other images.

use super::*;

#[tokio::test]
async fn a_run_that_has_ended_frees_its_resources_and_stays_ended() {
    for (line, state, end) in [
        (
            r#"{"level":"INFO","event":"run-ended.v1","state":"finished","digest":"ab","exit_code":0}"#,
            ClusterRunState::Finished,
            RunEnd::Finished { digest: "ab".into() },
        ),
        (
            r#"{"level":"ERROR","event":"run-ended.v1","state":"failed","why":"no data","exit_code":78}"#,
            ClusterRunState::Failed,
            RunEnd::Failed {
                why: "no data".into(),
                exit: Exit::BadInput,
            },
        ),
    ] {
        let (server, cluster) = Server::start().await;
        submit(&cluster, &plain()).await.unwrap();
        server.put("pods", pod("fog-coordinator-0", "coordinator", None, running()));
        server.log("fog-coordinator-0", line);
        within(cluster.stop(&run())).await.unwrap();
        within(until(|| server.names("pods").is_empty())).await;
        let view = cluster.run(&run()).await.unwrap();
        assert_eq!(view.state, state, "{}", view.why);
        // Stopped once more, it is still what it was.
        within(cluster.stop(&run())).await.unwrap();
        assert_eq!(cluster.runs().await.unwrap()[0].state, state);
        let mut tell = |_| {};
        let followed = within(cluster.follow(&run(), &mut tell)).await.unwrap();
        assert_eq!(followed, Followed::Over(end));
        // Another try forgets the end of the last one.
        within(cluster.resume(&run(), "7", &NewImages::default()))
            .await
            .unwrap();
        assert_eq!(
            cluster.run(&run()).await.unwrap().state,
            ClusterRunState::Starting
        );
        within(cluster.stop(&run())).await.unwrap();
        assert_eq!(cluster.run(&run()).await.unwrap().state, ClusterRunState::Stopped);
    }
}

fn image_of(object: &Value) -> &str {
    object["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap()
}

#[tokio::test]
async fn a_run_goes_on_with_another_image_and_keeps_it() {
    let (server, cluster) = Server::start().await;
    submit(&cluster, &plain()).await.unwrap();
    let images = || {
        let job = server.get("jobs", "fog-worker").unwrap();
        let set = server.get("statefulsets", "fog-coordinator").unwrap();
        (image_of(&job).to_owned(), image_of(&set).to_owned())
    };
    let resume = async |all: Option<&str>, coordinator: Option<&str>| {
        let images = NewImages {
            all: all.map(str::to_owned),
            coordinator: coordinator.map(str::to_owned),
        };
        within(cluster.resume(&run(), "7", &images)).await.unwrap();
    };
    let both = |worker: &str, coordinator: &str| (worker.to_owned(), coordinator.to_owned());
    // The workers run, and are replaced.
    resume(Some("ulda:2"), None).await;
    assert_eq!(images(), both("ulda:2", "ulda:2"));
    resume(None, Some("ulda-small:2")).await;
    assert_eq!(images(), both("ulda:2", "ulda-small:2"));
    // A coordinator with an image of its own keeps it.
    resume(Some("ulda:3"), None).await;
    assert_eq!(images(), both("ulda:3", "ulda-small:2"));
    within(cluster.stop(&run())).await.unwrap();
    resume(None, None).await;
    assert_eq!(images(), both("ulda:3", "ulda-small:2"));
    // Who may not change the record is told before anything is changed.
    server.forbid(Method::PATCH, "configmaps");
    let images_again = NewImages {
        all: Some("ulda:4".into()),
        coordinator: None,
    };
    let refused = within(cluster.resume(&run(), "8", &images_again))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().starts_with("not allowed to patch configmaps"),
        "{refused}"
    );
    assert_eq!(images(), both("ulda:3", "ulda-small:2"));
}

#[tokio::test]
async fn a_train_job_goes_on_with_another_image() {
    let (server, cluster) = Server::start().await;
    for group in ["trainer.kubeflow.org", "monitoring.coreos.com"] {
        server.install(group);
    }
    submit(&cluster, &rich(OutputKind::TrainJob)).await.unwrap();
    let images = NewImages {
        all: Some("ulda:2".into()),
        coordinator: None,
    };
    within(cluster.resume(&run(), "7", &images)).await.unwrap();
    let job = server.get("trainjobs", "fog").unwrap();
    assert_eq!(job["spec"]["trainer"]["image"], "ulda:2");
    let set = server.get("statefulsets", "fog-coordinator").unwrap();
    assert_eq!(image_of(&set), "ulda:2");
}

#[tokio::test]
async fn pod_settings_outlive_stop_and_resume() {
    let (server, cluster) = Server::start().await;
    let mut submission = plain();
    submission.settings = PodSettings::parse(SETTINGS).unwrap();
    submit(&cluster, &submission).await.unwrap();
    let job = server.get("jobs", "fog-worker").unwrap();
    let set = server.get("statefulsets", "fog-coordinator").unwrap();
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["priorityClassName"], "training");
    assert_eq!(pod["tolerations"][0]["key"], "dedicated");
    within(cluster.stop(&run())).await.unwrap();
    within(cluster.resume(&run(), "7", &NewImages::default()))
        .await
        .unwrap();
    assert_eq!(server.get("jobs", "fog-worker").unwrap()["spec"], job["spec"]);
    let resumed = server.get("statefulsets", "fog-coordinator").unwrap();
    let coordinator = |set: &Value| set["spec"]["template"]["spec"]["priorityClassName"].clone();
    assert_eq!(coordinator(&resumed), "services");
    assert_eq!(coordinator(&resumed), coordinator(&set));
}

const SETTINGS: &str = "
workers: {priorityClassName: training, tolerations: [{key: dedicated, operator: Exists}]}
coordinator: {priorityClassName: services}
";
