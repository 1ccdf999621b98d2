//! What pods have of their own, which settings cannot replace.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::read::text;
use super::{PodSettingsError, RoleSettings};
use crate::names::{COMPONENT_LABEL, INSTANCE_LABEL, MANAGED_BY_LABEL, NAME_LABEL};
use crate::submission::is_taken_path;

/// Variables that the rendered containers set.
const VARIABLES: [&str; 9] = [
    "HOME",
    "OMP_NUM_THREADS",
    "POD_IP",
    "ULDA_ATTEMPT",
    "ULDA_CREDENTIALS",
    "ULDA_DEVICE",
    "ULDA_RUN__DIRECTORY",
    "ULDA_RUN__NAME",
    "ULDA_RUN__THREADS_PER_SHARD",
];

const VOLUMES: [&str; 6] = ["config", "credentials", "runs", "shm", "state", "tmp"];

fn wrong(key: String, why: impl Into<String>) -> PodSettingsError {
    PodSettingsError::Wrong { key, why: why.into() }
}

/// Labels by which the run's pods are found.
pub(super) fn refuse_own_labels(at: &str, settings: &RoleSettings) -> Result<(), PodSettingsError> {
    let own = [NAME_LABEL, INSTANCE_LABEL, COMPONENT_LABEL, MANAGED_BY_LABEL];
    match own.iter().find(|own| settings.labels.contains_key(**own)) {
        Some(own) => Err(wrong(
            format!("{at}.labels"),
            format!("`{own}` is a label that every pod has already"),
        )),
        None => Ok(()),
    }
}

pub(super) fn refuse_own_variables(at: &str, settings: &RoleSettings) -> Result<(), PodSettingsError> {
    for (index, variable) in settings.env.iter().enumerate() {
        if VARIABLES.contains(&variable.name.as_str()) {
            return Err(wrong(
                format!("{at}.env[{index}].name"),
                format!("`{}` is set by `submit` itself", variable.name),
            ));
        }
    }
    Ok(())
}

pub(super) fn refuse_own_volumes(at: &str, settings: &RoleSettings) -> Result<(), PodSettingsError> {
    let mut seen = BTreeSet::new();
    for (index, volume) in settings.volumes.iter().enumerate() {
        let name = volume.name.as_str();
        let key = || format!("{at}.volumes[{index}].name");
        if VOLUMES.contains(&name) || name.starts_with("data-") {
            return Err(wrong(
                key(),
                format!("`{name}` is the name of a volume that pods have already"),
            ));
        }
        if !seen.insert(name) {
            return Err(wrong(key(), format!("`{name}` is there twice")));
        }
    }
    Ok(())
}

/// A mount needs its volume and a place of its own.
pub(super) fn refuse_stray_mounts(at: &str, settings: &RoleSettings) -> Result<(), PodSettingsError> {
    for (index, mount) in settings.volume_mounts.iter().enumerate() {
        let key = |name: &str| format!("{at}.volumeMounts[{index}].{name}");
        if !settings.volumes.iter().any(|volume| volume.name == mount.name) {
            return Err(wrong(
                key("name"),
                format!("`{}` is none of {at}.volumes", mount.name),
            ));
        }
        let path = mount.mount_path.as_str();
        if !path.starts_with('/') {
            return Err(wrong(
                key("mountPath"),
                format!("`{path}` is not an absolute path"),
            ));
        }
        if is_taken_path(Path::new(path)) {
            return Err(wrong(
                key("mountPath"),
                format!("`{path}` is where the pods keep their own files"),
            ));
        }
    }
    Ok(())
}

/// The name of an extended resource, such as `nvidia.com/mig-3g.40gb`; none where it is empty.
pub(super) fn resource_name(key: &str, value: &Value) -> Result<Option<String>, PodSettingsError> {
    let name = text(key, value)?;
    if name.is_empty() {
        return Ok(None);
    }
    let plain = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !part.is_empty() && part.bytes().all(plain)
    };
    match name.split_once('/') {
        Some((domain, resource)) if plain(domain) && plain(resource) => Ok(Some(name)),
        Some(_) | None => Err(wrong(
            key.to_owned(),
            format!("`{name}` is no extended resource, such as nvidia.com/gpu or amd.com/gpu"),
        )),
    }
}
