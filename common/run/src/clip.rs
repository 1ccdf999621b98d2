//! The CLIP weights under a run, and what its scores can therefore say.

use serde::{Deserialize, Serialize};

use crate::variant_names;

/// How CLIP weights came about, as far as their file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClipTraining {
    /// The file says nothing: OpenAI's weights, or others of their kind.
    #[default]
    Unmarked,
    /// Seeded miniature weights that were never trained on images and texts.
    Untrained,
    /// A small CLIP that was trained on generated streets and made robust to changed feature statistics, where PIN acts.
    GeneratedStreets,
}

variant_names!(ClipTraining parsed as "a training of CLIP weights" {
    Unmarked = "unmarked",
    Untrained = "untrained",
    GeneratedStreets = "generated-streets",
});

/// The frozen weights a run stands on.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "StoredOrigin")]
pub struct ClipOrigin {
    /// Digest of the checkpoint file; empty where it is unknown.
    pub digest: String,
    pub training: ClipTraining,
}

/// A [`ClipOrigin`] as files have it: older ones say only whether the weights are untrained.
#[derive(Deserialize)]
struct StoredOrigin {
    digest: String,
    training: Option<ClipTraining>,
    #[serde(default)]
    untrained: bool,
}

impl From<StoredOrigin> for ClipOrigin {
    fn from(stored: StoredOrigin) -> Self {
        let older = if stored.untrained {
            ClipTraining::Untrained
        } else {
            ClipTraining::Unmarked
        };
        Self {
            digest: stored.digest,
            training: stored.training.unwrap_or(older),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_written_now_and_before() {
        let origin = |training| ClipOrigin {
            digest: "d".into(),
            training,
        };
        for training in ClipTraining::ALL {
            let text = serde_json::to_string(&origin(training)).unwrap();
            assert_eq!(
                text,
                format!(r#"{{"digest":"d","training":"{}"}}"#, training.name())
            );
            assert_eq!(
                serde_json::from_str::<ClipOrigin>(&text).unwrap(),
                origin(training)
            );
            assert_eq!(training.name().parse::<ClipTraining>().unwrap(), training);
        }
        for (flag, training) in [
            ("true", ClipTraining::Untrained),
            ("false", ClipTraining::Unmarked),
        ] {
            let text = format!(r#"{{"digest":"d","untrained":{flag}}}"#);
            assert_eq!(
                serde_json::from_str::<ClipOrigin>(&text).unwrap(),
                origin(training)
            );
        }
        assert!("trained".parse::<ClipTraining>().is_err());
    }
}
