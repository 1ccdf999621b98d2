//! Which samples a split has, from the folders or the list file.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ulda_files::MOST_TEXT_BYTES;
use ulda_run::spec::{DatasetConfig, Layout};

use super::error::DatasetError;
use super::{Sample, files};

const WANTED: &str =
    "`split` of gta5 is a text file with one image name per line, absolute or below the root";

/// What to do with a listed image that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    Refuse,
    Keep,
}

pub(super) fn samples(spec: &DatasetConfig, absent: Absent) -> Result<Vec<Sample>, DatasetError> {
    if !spec.root.is_dir() {
        return Err(DatasetError::RootMissing {
            root: spec.root.clone(),
        });
    }
    if spec.condition.is_some() && spec.layout != Layout::Acdc {
        return Err(DatasetError::ConditionUnused {
            root: spec.root.clone(),
        });
    }
    match spec.layout {
        Layout::Cityscapes => {
            let suffixes = Suffixes {
                image: "_leftImg8bit.png",
                label: "_gtFine_labelIds.png",
            };
            let images = spec.root.join("leftImg8bit").join(&spec.split);
            let labels = spec.root.join("gtFine").join(&spec.split);
            folder_tree(&images, &labels, &suffixes)
        }
        Layout::Acdc => {
            let suffixes = Suffixes {
                image: "_rgb_anon.png",
                label: "_gt_labelIds.png",
            };
            let top = spec.root.join("rgb_anon");
            let condition = spec
                .condition
                .as_ref()
                .ok_or_else(|| DatasetError::ConditionNeeded {
                    found: folders_in(&top),
                })?;
            let images = top.join(condition).join(&spec.split);
            let labels = spec.root.join("gt").join(condition).join(&spec.split);
            folder_tree(&images, &labels, &suffixes)
        }
        Layout::Files => files::samples(spec, absent),
        Layout::Gta5 => listed(&spec.root, &spec.split, absent),
    }
}

struct Suffixes {
    image: &'static str,
    label: &'static str,
}

/// Images two levels below `images`. Anything that is not a folder at the first level, or does not end like an image
/// of this dataset at the second, is no sample.
fn folder_tree(images: &Path, labels: &Path, suffixes: &Suffixes) -> Result<Vec<Sample>, DatasetError> {
    let mut samples = Vec::new();
    for folder in entries(images)? {
        let path = images.join(&folder);
        if !path.is_dir() {
            continue;
        }
        for file in entries(&path)? {
            let Some(base) = file.strip_suffix(suffixes.image) else {
                continue;
            };
            samples.push(Sample {
                name: stem(&file),
                image: path.join(&file),
                label: labels.join(&folder).join(format!("{base}{}", suffixes.label)),
            });
        }
    }
    if samples.is_empty() {
        return Err(DatasetError::EmptySplit {
            folder: images.to_owned(),
            suffix: suffixes.image,
        });
    }
    sort_by_image(&mut samples);
    Ok(samples)
}

/// By bytes, as a sort of path strings: comparing by components would put `a/b` before `a-b/c`.
pub(super) fn sort_by_image(samples: &mut [Sample]) {
    samples.sort_by(|a, b| {
        a.image
            .as_os_str()
            .as_encoded_bytes()
            .cmp(b.image.as_os_str().as_encoded_bytes())
    });
}

fn listed(root: &Path, split: &str, absent: Absent) -> Result<Vec<Sample>, DatasetError> {
    let list = find_list(root, split)?;
    let mut first_line = HashMap::new();
    let mut samples = Vec::new();
    for (line, name) in lines_of(&list, WANTED)? {
        if let Some(first) = first_line.insert(name.clone(), line) {
            return Err(DatasetError::ListedTwice {
                list,
                name,
                first,
                second: line,
            });
        }
        let image = root.join("images").join(&name);
        if absent == Absent::Refuse && !image.is_file() {
            return Err(DatasetError::ListedImageMissing { list, line, image });
        }
        samples.push(Sample {
            name: stem(&name),
            image,
            label: root.join("labels").join(name),
        });
    }
    Ok(samples)
}

/// The lines of a list file that are not empty, with their numbers.
///
/// # Errors
/// When there are none, or no such file; `wanted` says what it has to be.
pub(super) fn lines_of(list: &Path, wanted: &'static str) -> Result<Vec<(usize, String)>, DatasetError> {
    let list = list.to_owned();
    let text = match ulda_files::read_text(&list, MOST_TEXT_BYTES) {
        Ok(text) => text,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(DatasetError::ListMissing { list, wanted });
        }
        Err(source) => return Err(DatasetError::ListUnreadable { list, source }),
    };
    let lines = (1..).zip(text.lines().map(|line| line.trim().to_owned()));
    let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty()).collect();
    if lines.is_empty() {
        return Err(DatasetError::ListEmpty { list });
    }
    Ok(lines)
}

fn find_list(root: &Path, split: &str) -> Result<PathBuf, DatasetError> {
    let named = root.join(split);
    [
        named.clone(),
        root.join(format!("{split}.txt")),
        root.join(format!("{split}_list.txt")),
    ]
    .into_iter()
    .find(|path| path.is_file())
    .ok_or(DatasetError::ListMissing {
        list: named,
        wanted: WANTED,
    })
}

fn stem(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.strip_suffix(".png").unwrap_or(base).to_owned()
}

/// Names in a folder. Names that are not UTF-8 belong to no dataset and are skipped.
pub(super) fn entries(folder: &Path) -> Result<Vec<String>, DatasetError> {
    let unreadable = |source| DatasetError::FolderUnreadable {
        folder: folder.to_owned(),
        source,
    };
    let reader = fs::read_dir(folder).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            let found = folder.parent().map(folders_in).unwrap_or_default();
            DatasetError::FolderMissing {
                folder: folder.to_owned(),
                found,
            }
        }
        _ => unreadable(source),
    })?;
    let names = reader.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
    names
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()
        .map_err(unreadable)
}

/// Names of the folders in a folder, sorted, for advice; none if it cannot be read.
fn folders_in(folder: &Path) -> Vec<String> {
    let Ok(reader) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<String> = reader
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    found.sort();
    found
}
