//! Rendered objects, in the order in which they are to be applied.

use k8s_openapi::Resource;
use serde::Serialize;
use serde_json::{Value, json};

use crate::yaml::to_yaml;

/// One object as the API takes it, its keys sorted: whether JSON keeps their order is a feature that any crate may
/// switch on for all, and digests must not depend on it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectManifest {
    pub kind: String,
    pub name: String,
    pub value: Value,
}

impl ObjectManifest {
    /// An object with a schema known to this program.
    pub(crate) fn typed<K: Resource + Serialize>(object: &K) -> Self {
        let value = serde_json::to_value(object).expect("API objects have a JSON form");
        Self::custom(value)
    }

    /// An object of a custom resource.
    pub(crate) fn custom(mut value: Value) -> Self {
        value.sort_all_objects();
        let text = |at: &str| {
            value
                .pointer(at)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            kind: text("/kind"),
            name: text("/metadata/name"),
            value,
        }
    }

    /// Such as `networking.k8s.io/v1`.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.value["apiVersion"].as_str().unwrap_or_default()
    }

    /// Group and version; the core group has no name.
    #[must_use]
    pub fn group_version(&self) -> (&str, &str) {
        self.api_version()
            .split_once('/')
            .unwrap_or(("", self.api_version()))
    }

    pub(crate) fn annotate(&mut self, key: &str, text: &str) {
        let metadata = &mut self.value["metadata"];
        if metadata["annotations"].is_null() {
            metadata["annotations"] = json!({});
        }
        metadata["annotations"][key] = text.into();
        self.value.sort_all_objects();
    }
}

/// All objects as one YAML stream.
#[must_use]
pub fn yaml_of(manifests: &[ObjectManifest]) -> String {
    let documents: Vec<String> = manifests
        .iter()
        .map(|manifest| to_yaml(&manifest.value))
        .collect();
    documents.join("---\n")
}

/// All objects as one `v1` List.
#[must_use]
pub fn list_of(manifests: &[ObjectManifest]) -> Value {
    let items: Vec<&Value> = manifests.iter().map(|manifest| &manifest.value).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}
