//! What must be there before a run is created, and whose it is; nobody who submits reads a Secret.

use super::*;

#[tokio::test]
async fn claims_and_secrets_that_are_missing_are_named_before_anything_is_created() {
    let (server, cluster) = Server::start().await;
    server.install("monitoring.coreos.com");
    server.withdraw("persistentvolumeclaims", "acdc");
    server.withdraw("secrets", "s3-keys");
    server.withdraw("secrets", "registry");
    let refused = submit(&cluster, &rich(OutputKind::IndexedJob)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "namespace `vision` has no PersistentVolumeClaim `acdc` and no Secret `registry` and no Secret `s3-keys`; \
         nothing was created"
    );
    assert_eq!(refused.blame(), Blame::Input);
    assert!(
        refused
            .hint()
            .unwrap()
            .starts_with("create it, or correct the argument")
    );
    assert!(server.names("configmaps").is_empty());
    submit(&cluster, &plain()).await.unwrap();
    // A run that is there is left as it is, whatever became of its claims.
    server.withdraw("persistentvolumeclaims", "results");
    submit(&cluster, &plain()).await.unwrap();
    cluster.delete(&run(), StateVolume::Keep).await.unwrap();
    let refused = submit(&cluster, &plain()).await.unwrap_err();
    assert!(matches!(refused, ClusterError::Missing { .. }), "{refused}");
    // Who may not look at claims is not kept from submitting.
    server.forbid(Method::GET, "persistentvolumeclaims");
    submit(&cluster, &plain()).await.unwrap();
}

#[tokio::test]
async fn what_pod_settings_name_is_looked_for_too() {
    let (server, cluster) = Server::start().await;
    let mut submission = plain();
    submission.settings = PodSettings::parse(
        "workers:
  env: [{name: KEY, valueFrom: {secretKeyRef: {name: keys, key: key}}}]
  volumes:
  - {name: authority, configMap: {name: authority}}
  - {name: both, projected: {sources: [{secret: {name: proxy}}]}}
  - {name: maybe, configMap: {name: maybe, optional: true}}",
    )
    .unwrap();
    let refused = submit(&cluster, &submission).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("no ConfigMap `authority` and no Secret `keys` and no Secret `proxy`;"),
        "{refused}"
    );
    server.put("configmaps", json!({"metadata": {"name": "authority"}}));
    server.put("secrets", json!({"metadata": {"name": "keys"}}));
    server.put("secrets", json!({"metadata": {"name": "proxy"}}));
    submit(&cluster, &submission).await.unwrap();
}

#[tokio::test]
async fn secrets_are_created_and_deleted_and_never_read() {
    let (server, cluster) = Server::start().await;
    server.forbid(Method::GET, "secrets");
    let mut submission = plain();
    submission.credentials = rich(OutputKind::IndexedJob).credentials;
    submit(&cluster, &submission).await.unwrap();
    let again = submit(&cluster, &submission).await.unwrap();
    assert!(again.iter().all(|outcome| *outcome == ApplyOutcome::There));
    let names = ["fog-coordinator-credentials", "fog-worker-credentials"];
    assert_eq!(server.names("secrets"), names);
    server.put("secrets", json!({"metadata": {"name": "another-users"}}));
    let deleted = cluster.delete(&run(), StateVolume::Keep).await.unwrap();
    let secrets = deleted.iter().filter(|object| object.kind == "Secret");
    assert!(secrets.map(|object| object.name.as_str()).eq(names));
    assert_eq!(server.names("secrets"), ["another-users"]);
    // The next submission has Secrets of its own.
    submit(&cluster, &submission).await.unwrap();
}

#[tokio::test]
async fn secrets_without_their_run_belong_to_somebody_else() {
    let (server, cluster) = Server::start().await;
    server.put("secrets", json!({"metadata": {"name": "fog-worker-credentials"}}));
    let mut submission = plain();
    submission.credentials = rich(OutputKind::IndexedJob).credentials;
    let refused = submit(&cluster, &submission).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Secret `fog-worker-credentials` is there already and belongs to something else"
    );
    assert!(server.names("configmaps").is_empty());
}
