//! From a file's text to settings. Every key is looked at, so that a misspelt one is found.

use k8s_openapi::api::core::v1::{Affinity, LocalObjectReference};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::rules::{
    refuse_own_labels, refuse_own_variables, refuse_own_volumes, refuse_stray_mounts, resource_name,
};
use super::{PodSettings, PodSettingsError, PullPolicy, RoleImage, RoleSettings};
use crate::names::{NotAName, Subdomain};

/// Values of the chart that are no pod settings, and what says the same to `submit`.
const ELSEWHERE: [(&str, &str); 24] = [
    ("config", "--config"),
    ("image.repository", "--image"),
    ("image.tag", "--image"),
    ("image.digest", "--image"),
    ("serviceAccount", "--service-account"),
    ("user", "--user"),
    ("workers.count", "--workers"),
    ("workers.perPod", "--workers-per-pod"),
    ("workers.cpu", "--cpus-per-worker"),
    ("workers.memory", "--memory-per-worker"),
    ("workers.threadsPerShard", "run.threads_per_shard of the run.toml"),
    ("workers.kind", "--output-kind"),
    ("workers.drain", "deadline.drain of the run.toml"),
    (
        "workers.disruptionBudget",
        "a PodDisruptionBudget of your own, or the chart",
    ),
    ("gpu.enabled", "--gpus-per-worker"),
    ("gpu.nodeLabel", "--gpu-type"),
    ("coordinator.size", "--state-size"),
    ("coordinator.storageClass", "--storage-class"),
    (
        "coordinator.disruptionBudget",
        "a PodDisruptionBudget of your own, or the chart",
    ),
    ("data", "--data-claim"),
    ("runClaim", "--run-claim"),
    ("s3", "--s3-secret and --s3-port"),
    ("queue", "--queue"),
    ("monitoring", "--pod-monitor and --monitoring-namespace"),
];

type Read<T> = Result<T, PodSettingsError>;

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Workers,
    Coordinator,
}

impl PodSettings {
    /// Settings in YAML, which JSON is too. Nothing is set by an empty text.
    ///
    /// # Errors
    /// A key that is unknown, or set elsewhere, or its value is none that pods can have.
    pub fn parse(text: &str) -> Result<Self, PodSettingsError> {
        let file: Option<Value> = serde_saphyr::from_str(text).map_err(|cause| PodSettingsError::Syntax {
            reason: cause.to_string().lines().next().unwrap_or_default().to_owned(),
        })?;
        let file = file.unwrap_or_default();
        let mut settings = Self::default();
        for (key, value) in object("the file", &file)? {
            match key.as_str() {
                "image" => {
                    for (key, value) in object("image", value)? {
                        match key.as_str() {
                            "pullPolicy" => settings.pull_policy = pull_policy("image.pullPolicy", value)?,
                            _ => return Err(unknown(format!("image.{key}"))),
                        }
                    }
                }
                "imagePullSecrets" => settings.pull_secrets = pull_secrets(value)?,
                "gpu" => {
                    for (key, value) in object("gpu", value)? {
                        match key.as_str() {
                            "resource" => settings.gpu_resource = resource_name("gpu.resource", value)?,
                            _ => return Err(unknown(format!("gpu.{key}"))),
                        }
                    }
                }
                "workers" => settings.workers = role(Role::Workers, "workers", value)?,
                "coordinator" => settings.coordinator = role(Role::Coordinator, "coordinator", value)?,
                _ => return Err(unknown(key.clone())),
            }
        }
        Ok(settings)
    }
}

fn role(role: Role, at: &str, value: &Value) -> Read<RoleSettings> {
    let mut settings = RoleSettings::default();
    for (name, value) in object(at, value)? {
        let key = format!("{at}.{name}");
        match (name.as_str(), role) {
            ("image", _) => settings.image = image(&key, value)?,
            ("cpu", Role::Coordinator) => settings.cpu = scalar(&key, value)?,
            ("memory", Role::Coordinator) => settings.memory = scalar(&key, value)?,
            ("ephemeralStorage", _) => settings.ephemeral_storage = scalar(&key, value)?,
            ("shm", Role::Workers) => settings.shm = scalar(&key, value)?,
            ("nodeSelector", _) => settings.node_selector = typed(&key, value)?,
            ("tolerations", _) => settings.tolerations = list(&key, value)?,
            ("affinity", _) => settings.affinity = affinity(&key, value)?,
            ("topologySpreadConstraints", _) => settings.topology_spread_constraints = list(&key, value)?,
            ("priorityClassName", _) => settings.priority_class_name = scalar(&key, value)?,
            ("env", _) => settings.env = list(&key, value)?,
            ("labels", _) => settings.labels = typed(&key, value)?,
            ("annotations", _) => settings.annotations = typed(&key, value)?,
            ("volumes", _) => settings.volumes = list(&key, value)?,
            ("volumeMounts", _) => settings.volume_mounts = list(&key, value)?,
            _ => return Err(unknown(key)),
        }
    }
    refuse_own_labels(at, &settings)?;
    refuse_own_variables(at, &settings)?;
    refuse_own_volumes(at, &settings)?;
    refuse_stray_mounts(at, &settings)?;
    Ok(settings)
}

fn affinity(key: &str, value: &Value) -> Read<Option<Affinity>> {
    let affinity: Affinity = typed(key, value)?;
    Ok((affinity != Affinity::default()).then_some(affinity))
}

/// The image of a role, as the chart takes it; without a repository it has none of its own.
fn image(at: &str, value: &Value) -> Read<Option<RoleImage>> {
    let (mut repository, mut tag, mut digest, mut policy) =
        (String::new(), String::new(), String::new(), None);
    for (name, value) in object(at, value)? {
        let key = format!("{at}.{name}");
        match name.as_str() {
            "repository" => repository = text(&key, value)?,
            "tag" => tag = text(&key, value)?,
            "digest" => digest = text(&key, value)?,
            "pullPolicy" => policy = pull_policy(&key, value)?,
            _ => return Err(unknown(key)),
        }
    }
    let wrong = |name: &str, why: &str| PodSettingsError::Wrong {
        key: format!("{at}.{name}"),
        why: why.to_owned(),
    };
    if repository.is_empty() {
        let set = [
            ("tag", !tag.is_empty()),
            ("digest", !digest.is_empty()),
            ("pullPolicy", policy.is_some()),
        ];
        return match set.iter().find(|(_, is_set)| *is_set) {
            Some((name, _)) => Err(wrong(name, "it needs a repository beside it")),
            None => Ok(None),
        };
    }
    if repository.contains(char::is_whitespace) || repository.contains("://") {
        return Err(wrong(
            "repository",
            "it is no image's name, such as registry.example/ulda",
        ));
    }
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    let is_digest = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !digest.is_empty() && !is_digest {
        return Err(wrong(
            "digest",
            "it is not sha256: and 64 digits of 0 to 9 and a to f",
        ));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if !tag.bytes().all(plain) {
        return Err(wrong("tag", "letters, digits, `_`, `.` and `-` are allowed"));
    }
    let name = match (digest.is_empty(), tag.is_empty()) {
        (false, _) => format!("{repository}@{digest}"),
        (true, false) => format!("{repository}:{tag}"),
        (true, true) => format!("{repository}:{}", env!("CARGO_PKG_VERSION")),
    };
    Ok(Some(RoleImage {
        name,
        pull_policy: policy,
    }))
}

fn pull_policy(key: &str, value: &Value) -> Read<Option<PullPolicy>> {
    match text(key, value)?.as_str() {
        "" => Ok(None),
        "Always" => Ok(Some(PullPolicy::Always)),
        "IfNotPresent" => Ok(Some(PullPolicy::IfNotPresent)),
        "Never" => Ok(Some(PullPolicy::Never)),
        other => Err(PodSettingsError::Wrong {
            key: key.to_owned(),
            why: format!("`{other}` is none of Always, IfNotPresent and Never"),
        }),
    }
}

fn pull_secrets(value: &Value) -> Read<Vec<Subdomain>> {
    let at = "imagePullSecrets";
    let secrets = list::<LocalObjectReference>(at, value)?.into_iter().enumerate();
    let names = secrets.map(|(index, secret)| {
        secret
            .name
            .parse()
            .map_err(|why: NotAName| PodSettingsError::Wrong {
                key: format!("{at}[{index}].name"),
                why: why.to_string(),
            })
    });
    names.collect()
}

pub(super) fn unknown(key: String) -> PodSettingsError {
    match ELSEWHERE.iter().find(|(known, _)| *known == key) {
        Some((_, place)) => PodSettingsError::Elsewhere { key, place },
        None => PodSettingsError::Unknown { key },
    }
}

/// The pairs of a map; nothing where it is left empty.
fn object<'a>(key: &str, value: &'a Value) -> Read<Vec<(&'a String, &'a Value)>> {
    match value {
        Value::Object(map) => Ok(map.iter().collect()),
        Value::Null => Ok(Vec::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(PodSettingsError::Wrong {
                key: key.to_owned(),
                why: "it is no map of keys and values".to_owned(),
            })
        }
    }
}

/// A text, or a number as it is written. Empty where there is none.
pub(super) fn text(key: &str, value: &Value) -> Read<String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(PodSettingsError::Wrong {
            key: key.to_owned(),
            why: "it is no text".to_owned(),
        }),
    }
}

/// What a text stands for; nothing where it is empty.
fn scalar<T>(key: &str, value: &Value) -> Read<Option<T>>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = text(key, value)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|cause| PodSettingsError::Wrong {
        key: key.to_owned(),
        why: format!("`{text}`: {cause}"),
    })
}

fn list<T: DeserializeOwned + Serialize + Default>(key: &str, value: &Value) -> Read<Vec<T>> {
    let items = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        _ => {
            return Err(PodSettingsError::Wrong {
                key: key.to_owned(),
                why: "it is no list".to_owned(),
            });
        }
    };
    let items = items.iter().enumerate();
    items
        .map(|(index, item)| typed(&format!("{key}[{index}]"), item))
        .collect()
}

/// A value of the API's type. A key that the type does not know is an error, not dropped.
fn typed<T: DeserializeOwned + Serialize + Default>(key: &str, value: &Value) -> Read<T> {
    if value.is_null() {
        return Ok(T::default());
    }
    let wrong = |cause: serde_json::Error| PodSettingsError::Wrong {
        key: key.to_owned(),
        why: cause.to_string(),
    };
    let typed: T = serde_json::from_value(value.clone()).map_err(wrong)?;
    let kept = serde_json::to_value(&typed).map_err(wrong)?;
    match lost(key, value, &kept) {
        Some(key) => Err(PodSettingsError::Unknown { key }),
        None => Ok(typed),
    }
}

/// The first key of `given` that `kept` lacks.
fn lost(at: &str, given: &Value, kept: &Value) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => given.iter().find_map(|(key, value)| {
            let at = format!("{at}.{key}");
            match kept.get(key) {
                Some(kept) => lost(&at, value, kept),
                None if value.is_null() => None,
                None => Some(at),
            }
        }),
        (Value::Array(given), Value::Array(kept)) => {
            let mut pairs = given.iter().zip(kept).enumerate();
            pairs.find_map(|(index, (given, kept))| lost(&format!("{at}[{index}]"), given, kept))
        }
        _ => None,
    }
}
