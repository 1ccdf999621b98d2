//! What the server refuses: fields it does not know and changes of what cannot change. And how it merges a patch.

use axum::response::Response;
use k8s_openapi::api::{apps, batch, core, networking};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::status;

/// Fields of `given` that a typed round trip loses.
fn unknown_fields<T: DeserializeOwned + Serialize>(given: &Value) -> Result<Vec<String>, String> {
    let typed: T = serde_json::from_value(given.clone()).map_err(|cause| cause.to_string())?;
    let kept = serde_json::to_value(typed).unwrap();
    let mut lost = Vec::new();
    compare("", given, &kept, &mut lost);
    Ok(lost)
}

fn compare(at: &str, given: &Value, kept: &Value, lost: &mut Vec<String>) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (key, value) in given {
                let at = format!("{at}.{key}");
                match kept.get(key) {
                    Some(kept) => compare(&at, value, kept, lost),
                    None if value.as_object().is_some_and(serde_json::Map::is_empty) => {}
                    None => lost.push(at),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) => {
            for (index, (given, kept)) in given.iter().zip(kept).enumerate() {
                compare(&format!("{at}[{index}]"), given, kept, lost);
            }
        }
        _ => {}
    }
}

#[allow(clippy::result_large_err, reason = "the response of a test's server")]
pub(super) fn strict(plural: &str, given: &Value) -> Result<(), Response> {
    let lost = match plural {
        "configmaps" => unknown_fields::<core::v1::ConfigMap>(given),
        "secrets" => unknown_fields::<core::v1::Secret>(given),
        "services" => unknown_fields::<core::v1::Service>(given),
        "statefulsets" => unknown_fields::<apps::v1::StatefulSet>(given),
        "jobs" => unknown_fields::<batch::v1::Job>(given),
        "networkpolicies" => unknown_fields::<networking::v1::NetworkPolicy>(given),
        _ => Ok(Vec::new()),
    };
    match lost {
        Ok(lost) if lost.is_empty() => Ok(()),
        Ok(lost) => Err(status(
            400,
            "BadRequest",
            &format!("strict decoding error: unknown field \"{}\"", lost[0]),
        )),
        Err(cause) => Err(status(400, "BadRequest", &cause)),
    }
}

/// What may be changed of an object that is there.
pub(super) fn immutable_change(plural: &str, before: &Value, after: &Value) -> Option<String> {
    let fixed: &[&str] = match plural {
        "jobs" => &[
            "completions",
            "template",
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
        ],
        "statefulsets" => &[
            "serviceName",
            "selector",
            "volumeClaimTemplates",
            "podManagementPolicy",
        ],
        _ => &[],
    };
    let changed = fixed
        .iter()
        .find(|field| before["spec"][**field] != after["spec"][**field])?;
    Some(format!("spec.{changed}: Invalid value: field is immutable"))
}

pub(super) fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                match value.is_null() {
                    true => drop(into.remove(key)),
                    false => merge(into.entry(key.clone()).or_insert(Value::Null), value),
                }
            }
        }
        // Strategic: items of containers and variables are found by name.
        (Value::Array(into), Value::Array(patch)) => {
            for item in patch {
                match into
                    .iter_mut()
                    .find(|held| held["name"] == item["name"] && !item["name"].is_null())
                {
                    Some(held) => merge(held, item),
                    None => into.push(item.clone()),
                }
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}
