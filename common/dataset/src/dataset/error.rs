//! Why a dataset cannot be opened. Every text names the path and what to do.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

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
         hint: `split` of gta5 is a text file with one image name per line, absolute or below the root", list.display()
    )]
    ListMissing { list: PathBuf },
    #[error("cannot read list file `{}`", list.display())]
    ListUnreadable { list: PathBuf, source: io::Error },
    #[error("list file `{}` names no image", list.display())]
    ListEmpty { list: PathBuf },
    #[error(
        "line {line} of `{}` names image `{}`, which does not exist\n  \
         hint: unpack all parts of gta5, or remove the line", list.display(), image.display()
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

fn others_text(others: usize) -> String {
    if others == 0 {
        String::new()
    } else {
        format!(" (and {others} more without label)")
    }
}
