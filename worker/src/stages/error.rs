//! Why a stage cannot go on.

use std::io::ErrorKind;

use ulda_collective::CollectiveError;
use ulda_dataset::{DatasetError, SampleError};
use ulda_run::hints;

use crate::link::ReductionError;
use crate::state::StateError;
use crate::style_sources::TooFewStyles;

#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    #[error(transparent)]
    Reduction(#[from] ReductionError),
    #[error(transparent)]
    Method(#[from] ulda_method::MethodError),
    #[error(transparent)]
    Weights(#[from] ulda_model::WeightsError),
    #[error(transparent)]
    Backbone(#[from] ulda_model::clip::BackboneError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the finished models cannot be written")]
    Models(#[source] crate::checkpoint::CheckpointError),
    #[error(transparent)]
    Sample(#[from] SampleError),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    StyleBank(#[from] ulda_method::stylebank::StyleBankError),
    #[error("{stage}: the run's state has no {what}")]
    Unprepared { stage: &'static str, what: &'static str },
    #[error(transparent)]
    FewStyles(#[from] TooFewStyles),
    #[error("adapt.draw is own, and {missing} of {images} training images have no style")]
    NoOwnStyle { missing: usize, images: usize },
    #[error("the data set under `{root}` ran out of samples in the middle of a stage")]
    FeedEnded { root: String },
    #[error("{what}")]
    Shape { what: String },
    #[error("write `{}`", path.display())]
    Write {
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Picture(#[from] ulda_dataset::WriteError),
    #[error(transparent)]
    Scores(#[from] ulda_dataset::ScoresError),
    #[error(transparent)]
    Text(#[from] ulda_model::text::TextError),
    #[error("libtorch refused an operation")]
    Torch(#[from] tch::TchError),
    #[error(transparent)]
    Host(#[from] ulda_torch::TorchError),
    #[error(transparent)]
    OutOfMemory(Box<super::OutOfMemory>),
    #[error("interrupted: {0}")]
    Interrupted(String),
}

hints!(pub StageError {
    Self::Unprepared { .. } => "the stage before it did not finish, start the run anew",
    Self::FewStyles(_) => TooFewStyles::HINT,
    Self::NoOwnStyle { .. } => "raise simulate.batches until all have been in one",
    Self::Collective(error) => error.hint(),
    Self::Reduction(error) => error.hint(),
    Self::Method(error) => error.hint(),
    Self::Weights(error) => error.hint(),
    Self::Backbone(error) => error.hint(),
    Self::Models(error) => error.hint(),
    Self::Sample(error) => error.hint(),
    Self::Dataset(error) => error.hint(),
    Self::StyleBank(error) => error.hint(),
    Self::Text(error) => error.hint(),
    Self::OutOfMemory(error) => error.hint(),
});

impl StageError {
    /// Whether it would have gone well on a disk with more space.
    #[must_use]
    pub fn is_for_want_of_space(&self) -> bool {
        let mut cause = Some(self as &(dyn std::error::Error + 'static));
        while let Some(error) = cause {
            let kind = error.downcast_ref().map(std::io::Error::kind);
            if matches!(kind, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded)) {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// Whether the user's input is at fault, rather than a machine or this program.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        matches!(
            self,
            Self::Sample(_)
                | Self::Dataset(_)
                | Self::Weights(_)
                | Self::FewStyles(_)
                | Self::NoOwnStyle { .. }
                | Self::StyleBank(_)
                | Self::Text(_)
                // It would be so again with the same batch on the same device.
                | Self::OutOfMemory(_)
                // Another worker would wait as long for the same storage.
                | Self::Models(crate::checkpoint::CheckpointError::NotBrought { .. })
        )
    }

    /// The text with all its causes, and what to do.
    #[must_use]
    pub fn with_hint(&self) -> String {
        crate::exit::with_hint(self, self.hint())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;
    use crate::checkpoint::CheckpointError;

    #[test]
    fn a_full_disk_is_told_from_other_refusals_through_all_causes() {
        let refusal = |kind: ErrorKind| {
            StageError::Models(CheckpointError::Io {
                action: "write",
                path: PathBuf::from("final"),
                source: io::Error::from(kind),
            })
        };
        assert!(refusal(ErrorKind::StorageFull).is_for_want_of_space());
        assert!(refusal(ErrorKind::QuotaExceeded).is_for_want_of_space());
        assert!(!refusal(ErrorKind::PermissionDenied).is_for_want_of_space());
        assert!(!StageError::Interrupted("SIGTERM".into()).is_for_want_of_space());
    }
}
