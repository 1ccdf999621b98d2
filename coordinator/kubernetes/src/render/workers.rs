//! The workers: an Indexed Job, whose indexes are the run's slots, or groups of them where workers share a pod.
//!
//! Exit codes decide what follows: 78 and 70 end the Job, as another try cannot help; 75 and 143 are nobody's
//! failure and cost no retry; whatever else counts against the index.

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ObjectFieldSelector, PodTemplateSpec, Service, ServicePort, ServiceSpec,
    Toleration,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata::{metadata, of};
use super::pods::{
    CONTROL, DATA, METRICS, Mounted, PROBE_SECONDS, common, environment, healthy, pod, pod_metadata, port,
    requirements, shared_memory, variable, worker_runs,
};
use crate::manifest::ObjectManifest;
use crate::names::WORKER;
use crate::submission::Submission;

pub(crate) const QUEUE_LABEL: &str = "kueue.x-k8s.io/queue-name";
/// A finished Job is looked at for so long.
pub(super) const KEPT_SECONDS: i32 = 86_400;
/// Failures of one index before it is given up; the run goes on with the others.
const RETRIES: i32 = 10;
/// How long a worker looks for its coordinator before its pod is replaced.
const SEARCH_SECONDS: u32 = 600;
/// A worker that answers nothing for so long is replaced. One that answers but does not train is the coordinator's affair.
const STUCK_SECONDS: i32 = 180;
/// Of one worker.
const SHARED_MEMORY: &str = "2Gi";
/// The argument that says how many workers a pod has, where it is more than one.
pub(crate) const PROCESSES: &str = "--processes=";
/// Configuration or data are wrong; the run failed.
const HOPELESS: [i32; 2] = [70, 78];
/// The coordinator is gone; the worker was told to leave.
const HARMLESS: [i32; 2] = [75, 143];

pub(super) fn service(submission: &Submission) -> ObjectManifest {
    ObjectManifest::typed(&Service {
        metadata: metadata(submission, submission.run.workers(), WORKER),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            publish_not_ready_addresses: Some(true),
            selector: Some(of(submission, WORKER)),
            ports: Some(vec![ServicePort {
                name: Some(DATA.0.into()),
                port: DATA.1,
                target_port: Some(IntOrString::String(DATA.0.into())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    })
}

pub(super) fn job(submission: &Submission) -> ObjectManifest {
    let mut metadata = metadata(submission, submission.run.workers(), WORKER);
    if let (Some(queue), Some(labels)) = (&submission.queue, &mut metadata.labels) {
        labels.insert(QUEUE_LABEL.into(), queue.to_string());
    }
    ObjectManifest::typed(&Job {
        metadata,
        spec: Some(JobSpec {
            suspend: submission.queue.as_ref().map(|_| true),
            ttl_seconds_after_finished: Some(KEPT_SECONDS),
            ..job_spec(submission, WORKER)
        }),
        ..Job::default()
    })
}

/// What every kind of output has at its core. `container` is the name the output wants for it.
pub(super) fn job_spec(submission: &Submission, container: &str) -> JobSpec {
    let count = i32::try_from(submission.worker_pods()).unwrap_or(i32::MAX);
    JobSpec {
        completions: Some(count),
        parallelism: Some(count),
        completion_mode: Some("Indexed".into()),
        backoff_limit_per_index: Some(RETRIES),
        max_failed_indexes: Some(count - 1),
        pod_replacement_policy: Some("Failed".into()),
        pod_failure_policy: Some(PodFailurePolicy {
            rules: vec![
                PodFailurePolicyRule {
                    action: "Ignore".into(),
                    on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                        type_: "DisruptionTarget".into(),
                        status: "True".into(),
                    }]),
                    ..PodFailurePolicyRule::default()
                },
                on_exit("FailJob", container, &HOPELESS),
                on_exit("Ignore", container, &HARMLESS),
            ],
        }),
        template: template(submission, container),
        ..JobSpec::default()
    }
}

fn on_exit(action: &str, container: &str, codes: &[i32]) -> PodFailurePolicyRule {
    PodFailurePolicyRule {
        action: action.into(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: Some(container.into()),
            operator: "In".into(),
            values: codes.to_vec(),
        }),
        ..PodFailurePolicyRule::default()
    }
}

fn template(submission: &Submission, name: &str) -> PodTemplateSpec {
    let shared = submission.settings.workers.shm.clone();
    let shared = shared.unwrap_or_else(|| SHARED_MEMORY.parse().expect("it is a quantity"));
    let shared = shared.times(submission.workers_per_pod);
    let mut volumes: Vec<Mounted> = vec![worker_runs(submission), shared_memory(&shared)];
    volumes.extend(common(submission, WORKER));
    let mut spec = pod(submission, WORKER, container(submission, name), volumes);
    spec.restart_policy = Some("Never".into());
    spec.subdomain = Some(submission.run.workers());
    spec.termination_grace_period_seconds = i64::try_from(submission.worker_grace().as_secs()).ok();
    if let Some(gpu) = &submission.gpu {
        if let Some((label, value)) = &gpu.node {
            let labels = spec.node_selector.get_or_insert_default();
            labels.insert(label.clone(), value.clone());
        }
        let of_gpus = Toleration {
            key: Some(gpu.resource.clone()),
            operator: Some("Exists".into()),
            effect: Some("NoSchedule".into()),
            ..Toleration::default()
        };
        spec.tolerations.get_or_insert_default().insert(0, of_gpus);
    }
    PodTemplateSpec {
        metadata: Some(pod_metadata(submission, WORKER, METRICS.1)),
        spec: Some(spec),
    }
}

fn container(submission: &Submission, name: &str) -> Container {
    let run = &submission.run;
    let mut arguments = vec![
        "join".to_owned(),
        format!("--coordinator=https://{}:{}", run.coordinator_host(), CONTROL.1),
        format!("--run={run}"),
        "--slot=$(JOB_COMPLETION_INDEX)".to_owned(),
        format!("--data-listen=0.0.0.0:{}", DATA.1),
        "--data-advertise=$(POD_IP)".to_owned(),
        format!("--search={SEARCH_SECONDS}"),
        format!("--http=0.0.0.0:{}", METRICS.1),
    ];
    if submission.workers_per_pod > 1 {
        arguments.push(format!("{PROCESSES}{}", submission.workers_per_pod));
        arguments.push(format!("--grace={}", submission.worker_grace().as_secs()));
    }
    let mut environment = environment();
    environment.push(EnvVar {
        name: "POD_IP".into(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: "status.podIP".into(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    });
    if let Some(threads) = submission.threads_per_shard {
        environment.push(variable("OMP_NUM_THREADS", threads.to_string()));
    }
    if let Some(device) = submission.device {
        environment.push(variable("ULDA_DEVICE", device));
    }
    let ephemeral_storage = submission.settings.workers.ephemeral_storage.as_ref();
    let requirements = requirements(
        &submission.worker,
        ephemeral_storage,
        submission.workers_per_pod,
        submission.gpu.as_ref(),
    );
    Container {
        name: name.into(),
        command: Some(vec!["worker".into()]),
        args: Some(arguments),
        env: Some(environment),
        ports: Some([DATA, METRICS].map(port).to_vec()),
        liveness_probe: Some(healthy(METRICS.0, STUCK_SECONDS / PROBE_SECONDS)),
        resources: Some(requirements),
        ..Container::default()
    }
}
