//! Why a dataset cannot be opened. Every text names the path and what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;
use ulda_run::spec::FilesProblem;

use crate::error::SampleError;
use crate::geometry::Size;

#[derive(Debug, Error)]
pub enum DatasetError {
    #[error("data set folder `{}` does not exist\n  hint: correct `root`, or mount the data volume there", root.display())]
    RootMissing { root: PathBuf },
    #[error("folder `{}` does not exist{}", folder.display(), found_text(found))]
    FolderMissing { folder: PathBuf, found: Vec<String> },
    #[error("cannot read folder `{}`", folder.display())]
    FolderUnreadable { folder: PathBuf, source: io::Error },
    #[error(
        "no folder below `{}` holds an image ending in `{suffix}`\n  \
         hint: the split may not be unpacked", folder.display()
    )]
    EmptySplit { folder: PathBuf, suffix: &'static str },
    #[error(
        "none of the {listed} images of split `{split}` below `{}` is {size}\n  \
         hint: correct `only_size`, or drop it to keep all sizes", root.display()
    )]
    NoneOfSize {
        root: PathBuf,
        split: String,
        size: Size,
        listed: usize,
    },
    #[error("no label `{}` for image `{}`{}\n  hint: {}", label.display(), image.display(), others_text(*others),
        "unpack the annotations of this split; splits without public labels (test) cannot be used")]
    LabelMissing {
        image: PathBuf,
        label: PathBuf,
        others: usize,
    },
    #[error("acdc needs a `condition`\n  hint: one of {}", found.join(", "))]
    ConditionNeeded { found: Vec<String> },
    #[error("`condition` is for acdc only, not for the data set below `{}`\n  hint: remove it", root.display())]
    ConditionUnused { root: PathBuf },
    #[error(
        "list file `{}` does not exist\n  \
         hint: {wanted}", list.display()
    )]
    ListMissing { list: PathBuf, wanted: &'static str },
    #[error("cannot read list file `{}`", list.display())]
    ListUnreadable { list: PathBuf, source: io::Error },
    #[error("list file `{}` names no image", list.display())]
    ListEmpty { list: PathBuf },
    #[error(
        "line {line} of `{}` names image `{}`, which does not exist\n  \
         hint: unpack all parts of the data set, or remove the line", list.display(), image.display()
    )]
    ListedImageMissing {
        list: PathBuf,
        line: usize,
        image: PathBuf,
    },
    #[error(
        "lines {first} and {second} of `{}` both name `{name}`\n  \
         hint: remove one, an image counts once per epoch", list.display()
    )]
    ListedTwice {
        list: PathBuf,
        name: String,
        first: usize,
        second: usize,
    },
    #[error("`{}` names {image_count} images and `{}` {label_count} labels\n  \
         hint: line n of one belongs to line n of the other", images.display(), labels.display())]
    ListLengths {
        images: PathBuf,
        image_count: usize,
        labels: PathBuf,
        label_count: usize,
    },
    #[error("none of the {files} files below `{}` matches `{pattern}`\n  hint: {}", folder.display(), example_text(example))]
    NoMatch {
        folder: PathBuf,
        pattern: String,
        files: usize,
        /// One of the files, as the pattern would have to match it.
        example: Option<String>,
    },
    #[error(
        "none of the {images} images has a label; that of `{}` would be `{}`\n  \
         hint: correct `files.labels`, or unpack the annotations of this split", image.display(), label.display()
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

fn found_text(found: &[String]) -> String {
    if found.is_empty() {
        "\n  hint: check `root` and that the archive is unpacked".to_owned()
    } else {
        format!("\n  hint: beside it there is {}", found.join(", "))
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
