//! Names that become a file or folder of that name.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A name that can be joined to a folder's path and then names a direct child of that folder, on every file system and
/// in every object store. Parsing is the only way to get one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathName(String);

/// Why a text is no [`PathName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathNameError {
    #[error("is empty")]
    Empty,
    #[error("has {have} bytes")]
    Long { have: usize },
    #[error("starts with `{}`", found.escape_debug())]
    Start { found: char },
    #[error("holds `{}`", found.escape_debug())]
    Character { found: char },
}

impl PathName {
    /// File systems allow 255, of which endings such as `.writing` need some.
    pub const MOST_BYTES: usize = 100;

    /// What [`PathName::from_str`] accepts, for a hint.
    pub const ALLOWED: &str =
        "a name of at most 100 ASCII letters, digits, `-`, `_` and `.`, the first a letter or digit";

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Equal for names that some file systems take for the same.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl JsonSchema for PathName {
    fn schema_name() -> Cow<'static, str> {
        "PathName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "name", "maxLength": Self::MOST_BYTES, "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"})
    }
}

impl FromStr for PathName {
    type Err = PathNameError;

    fn from_str(text: &str) -> Result<Self, PathNameError> {
        let first = text.chars().next().ok_or(PathNameError::Empty)?;
        if text.len() > Self::MOST_BYTES {
            return Err(PathNameError::Long { have: text.len() });
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if let Some(found) = text.chars().find(|c| !plain(*c)) {
            return Err(PathNameError::Character { found });
        }
        if !first.is_ascii_alphanumeric() {
            return Err(PathNameError::Start { found: first });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for PathName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
            .map_err(|why: PathNameError| format!("a name {why}; hint: give {}", Self::ALLOWED))
    }
}

impl From<PathName> for String {
    fn from(name: PathName) -> Self {
        name.0
    }
}

impl AsRef<Path> for PathName {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for PathName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
