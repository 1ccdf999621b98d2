//! Why a dataset cannot be opened. Every text names the path and what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use ulda_run::spec::FilesProblem;

use crate::error::SampleError;
use crate::geometry::Size;

#[derive(Debug, Error)]
pub enum DatasetError {
    #[error("data set folder `{}` does not exist", root.display())]
    RootMissing { root: PathBuf },
    #[error("folder `{}` does not exist", folder.display())]
    FolderMissing { folder: PathBuf, found: Vec<String> },
    #[error("cannot read folder `{}`", folder.display())]
    FolderUnreadable { folder: PathBuf, source: io::Error },
    #[error("no folder below `{}` holds an image ending in `{suffix}`", folder.display())]
    EmptySplit { folder: PathBuf, suffix: &'static str },
    #[error("none of the {listed} images of split `{split}` below `{}` is {size}", root.display())]
    NoneOfSize {
        root: PathBuf,
        split: String,
        size: Size,
        listed: usize,
    },
    #[error("no label `{}` for image `{}`{}", label.display(), image.display(), others_text(*others))]
    LabelMissing {
        image: PathBuf,
        label: PathBuf,
        others: usize,
    },
    #[error("acdc needs a `condition`")]
    ConditionNeeded { found: Vec<String> },
    #[error("`condition` is for acdc only, not for the data set below `{}`", root.display())]
    ConditionUnused { root: PathBuf },
    #[error("list file `{}` does not exist", list.display())]
    ListMissing { list: PathBuf, wanted: &'static str },
    #[error("cannot read list file `{}`", list.display())]
    ListUnreadable { list: PathBuf, source: io::Error },
    #[error("list file `{}` names no image", list.display())]
    ListEmpty { list: PathBuf },
    #[error("line {line} of `{}` names image `{}`, which does not exist", list.display(), image.display())]
    ListedImageMissing {
        list: PathBuf,
        line: usize,
        image: PathBuf,
    },
    #[error("lines {first} and {second} of `{}` both name `{name}`", list.display())]
    ListedTwice {
        list: PathBuf,
        name: String,
        first: usize,
        second: usize,
    },
    #[error("`{}` names {image_count} images and `{}` {label_count} labels", images.display(), labels.display())]
    ListLengths {
        images: PathBuf,
        image_count: usize,
        labels: PathBuf,
        label_count: usize,
    },
    #[error("none of the {files} files below `{}` matches `{pattern}`", folder.display())]
    NoMatch {
        folder: PathBuf,
        pattern: String,
        files: usize,
        /// One of the files, as the pattern would have to match it.
        example: Option<String>,
    },
    #[error(
        "none of the {images} images has a label; that of `{}` would be `{}`", image.display(), label.display()
    )]
    NoneLabelled {
        images: usize,
        image: PathBuf,
        label: PathBuf,
    },
    #[error(transparent)]
    Files(#[from] FilesProblem),
    #[error(transparent)]
    Sample(#[from] SampleError),
}

impl DatasetError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::RootMissing { .. } => "correct `root`, or mount the data volume there".into(),
            Self::EmptySplit { .. } => "the split may not be unpacked".into(),
            Self::NoneOfSize { .. } => "correct `only_size`, or drop it to keep all sizes".into(),
            Self::LabelMissing { .. } => {
                "unpack the annotations of this split; splits without public labels (test) cannot be used"
                    .into()
            }
            Self::ConditionNeeded { found } => format!("one of {}", found.join(", ")),
            Self::ConditionUnused { .. } => "remove it".into(),
            Self::ListMissing { wanted, .. } => (*wanted).into(),
            Self::ListedImageMissing { .. } => "unpack all parts of the data set, or remove the line".into(),
            Self::ListLengths { .. } => "line n of one belongs to line n of the other".into(),
            Self::NoMatch { example, .. } => example_text(example),
            Self::NoneLabelled { .. } => {
                "correct `files.labels`, or unpack the annotations of this split".into()
            }
            Self::Files(problem) => problem.hint.to_string(),
            Self::ListedTwice { .. } => "remove one, an image counts once per epoch".into(),
            Self::Sample(error) => return error.hint(),
            Self::FolderMissing { found, .. } if found.is_empty() => {
                "check `root` and that the archive is unpacked".into()
            }
            Self::FolderMissing { found, .. } => format!("beside it there is {}", found.join(", ")),
            Self::FolderUnreadable { .. } | Self::ListUnreadable { .. } => {
                "check its permissions and its disk".into()
            }
            Self::ListEmpty { .. } => "write one image name per line into it".into(),
        })
    }
}

fn example_text(example: &Option<String>) -> String {
    match example {
        Some(file) => format!("correct `files.images`; a file there is `{file}`"),
        None => "the split may not be unpacked".to_owned(),
    }
}

fn others_text(others: usize) -> String {
    if others == 0 {
        String::new()
    } else {
        format!(" (and {others} more without label)")
    }
}
