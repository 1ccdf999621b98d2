//! The coordinator: a StatefulSet of one, so that no second one starts before the first is gone, with a volume of
//! its own for the journal.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
};
use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, Service, ServicePort,
    ServiceSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata::{metadata, of, selector};
use super::pods::{
    CONFIG_FILE, CONFIG_PATH, CONTROL, HOME_PATH, HTTP, Mounted, PROBE_SECONDS, RUNS_PATH, STATE_PATH,
    common, config, environment, healthy, mount, pod, pod_metadata, port, requirements, shared_runs,
    variable,
};
use crate::manifest::ObjectManifest;
use crate::names::{COORDINATOR, STATE_VOLUME};
use crate::submission::Submission;

/// The first look at the data may take so long before the page is served.
const FIRST_CHECK_SECONDS: i32 = 1800;
/// Longer than the page's own patience with a slow journal.
const STUCK_SECONDS: i32 = 180;
const GRACE_SECONDS: i64 = 60;

pub(super) fn service(submission: &Submission) -> ObjectManifest {
    let port = |(name, port): (&str, i32)| ServicePort {
        name: Some(name.into()),
        port,
        target_port: Some(IntOrString::String(name.into())),
        ..ServicePort::default()
    };
    ObjectManifest::typed(&Service {
        metadata: metadata(submission, submission.run.coordinator(), COORDINATOR),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            publish_not_ready_addresses: Some(true),
            selector: Some(of(submission, COORDINATOR)),
            ports: Some(vec![port(CONTROL), port(HTTP)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    })
}

pub(super) fn stateful_set(submission: &Submission) -> ObjectManifest {
    let mut volumes = vec![
        Mounted {
            volume: None,
            mount: mount(STATE_VOLUME, HOME_PATH, false),
        },
        config(submission),
    ];
    volumes.extend(shared_runs(submission));
    volumes.extend(common(submission, COORDINATOR));
    let mut spec = pod(submission, COORDINATOR, container(submission), volumes);
    spec.termination_grace_period_seconds = Some(GRACE_SECONDS);
    ObjectManifest::typed(&StatefulSet {
        metadata: metadata(submission, submission.run.coordinator(), COORDINATOR),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(submission.run.coordinator()),
            selector: selector(of(submission, COORDINATOR)),
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(submission, COORDINATOR, HTTP.1)),
                spec: Some(spec),
            },
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some("Retain".into()),
                when_scaled: Some("Retain".into()),
            }),
            volume_claim_templates: Some(vec![state_claim(submission)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    })
}

fn state_claim(submission: &Submission) -> PersistentVolumeClaim {
    let size = Quantity(submission.state_size.to_string());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(STATE_VOLUME.into()),
            labels: Some(of(submission, COORDINATOR)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: submission.storage_class.as_ref().map(ToString::to_string),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size)])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn container(submission: &Submission) -> Container {
    let arguments = [
        "train".to_owned(),
        "--supervised".to_owned(),
        "--no-launch".to_owned(),
        "--resume".to_owned(),
        format!("--workers={}", submission.workers),
        format!("--config={CONFIG_PATH}/{CONFIG_FILE}"),
        format!("--state={STATE_PATH}"),
        format!("--listen=0.0.0.0:{}", CONTROL.1),
        format!("--http=0.0.0.0:{}", HTTP.1),
        "--log=json".to_owned(),
    ];
    let mut environment = environment();
    environment.push(variable("ULDA_RUN__NAME", submission.run.as_str()));
    environment.push(variable("ULDA_RUN__DIRECTORY", RUNS_PATH));
    if let Some(threads) = submission.threads_per_shard {
        environment.push(variable("ULDA_RUN__THREADS_PER_SHARD", threads.to_string()));
    }
    let ephemeral_storage = submission.settings.coordinator.ephemeral_storage.as_ref();
    Container {
        name: COORDINATOR.into(),
        command: Some(vec!["coordinator".into()]),
        args: Some(arguments.to_vec()),
        env: Some(environment),
        ports: Some([CONTROL, HTTP].map(port).to_vec()),
        resources: Some(requirements(&submission.coordinator, ephemeral_storage, 1, None)),
        startup_probe: Some(healthy(HTTP.0, FIRST_CHECK_SECONDS / PROBE_SECONDS)),
        readiness_probe: Some(healthy(HTTP.0, 3)),
        liveness_probe: Some(healthy(HTTP.0, STUCK_SECONDS / PROBE_SECONDS)),
        ..Container::default()
    }
}
