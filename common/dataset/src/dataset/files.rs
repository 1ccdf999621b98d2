//! Samples of data sets in an arrangement of their own: images that match a pattern, or that a list file names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use ulda_run::spec::{DatasetConfig, Pairing, PathPattern, PatternPart, Wildcard};

use super::Sample;
use super::error::DatasetError;
use super::listing::{Absent, entries, lines_of, sort_by_image};

/// Levels of folders that `**/` looks through. A link to a folder above it would lead around for ever.
const MOST_LEVELS: usize = 16;
const WANTED: &str =
    "`files.images` and `files.labels` name text files with one path below the root per line";

pub(super) fn samples(spec: &DatasetConfig, absent: Absent) -> Result<Vec<Sample>, DatasetError> {
    match spec.files.pairing(&spec.split)? {
        Pairing::Patterns { images, labels } => matching(&spec.root, &images, &labels),
        Pairing::Lists { images, labels } => listed(
            &spec.root,
            &spec.root.join(images),
            &spec.root.join(labels),
            absent,
        ),
    }
}

fn matching(root: &Path, images: &PathPattern, labels: &PathPattern) -> Result<Vec<Sample>, DatasetError> {
    let regex = regex_of(images);
    let mut files = Vec::new();
    collect(
        root,
        images.folder(),
        images.levels().unwrap_or(MOST_LEVELS),
        &mut files,
    )?;
    let mut samples: Vec<Sample> = files
        .iter()
        .filter_map(|file| {
            let captures = regex.captures(file)?;
            let matched = captures.iter().skip(1).flatten().map(|part| part.as_str());
            Some(Sample {
                name: without_extension(file),
                image: root.join(file),
                label: root.join(labels.fill(matched)),
            })
        })
        .collect();
    if samples.is_empty() {
        return Err(DatasetError::NoMatch {
            folder: root.join(images.folder()),
            pattern: images.text().to_owned(),
            files: files.len(),
            example: files.into_iter().min(),
        });
    }
    sort_by_image(&mut samples);
    if !samples.iter().any(|sample| sample.label.is_file()) {
        return Err(DatasetError::NoneLabelled {
            images: samples.len(),
            image: samples[0].image.clone(),
            label: samples[0].label.clone(),
        });
    }
    Ok(samples)
}

/// The pattern as a regular expression whose groups are its wildcards.
fn regex_of(pattern: &PathPattern) -> Regex {
    let parts = pattern.parts().iter().map(|part| match part {
        PatternPart::Text(text) => regex::escape(text),
        PatternPart::Wildcard(Wildcard::Name) => "([^/]*)".to_owned(),
        PatternPart::Wildcard(Wildcard::Folders) => "((?:[^/]+/)*)".to_owned(),
    });
    let whole: String = parts.collect();
    Regex::new(&format!("^{whole}$")).expect("escaped text and groups are a regular expression")
}

/// Files in `folder`, a path below the root, and in folders up to `levels` below it, by their paths below the root.
fn collect(root: &Path, folder: &str, levels: usize, files: &mut Vec<String>) -> Result<(), DatasetError> {
    for name in entries(&root.join(folder))? {
        if name.starts_with('.') {
            continue;
        }
        let path = match folder.is_empty() {
            true => name,
            false => format!("{folder}/{name}"),
        };
        if !root.join(&path).is_dir() {
            files.push(path);
        } else if levels > 0 {
            collect(root, &path, levels - 1, files)?;
        }
    }
    Ok(())
}

/// Line n of `images` with line n of `labels`.
fn listed(root: &Path, images: &Path, labels: &Path, absent: Absent) -> Result<Vec<Sample>, DatasetError> {
    let (image_lines, label_lines) = (lines_of(images, WANTED)?, lines_of(labels, WANTED)?);
    if image_lines.len() != label_lines.len() {
        return Err(DatasetError::ListLengths {
            images: images.to_owned(),
            image_count: image_lines.len(),
            labels: labels.to_owned(),
            label_count: label_lines.len(),
        });
    }
    let mut first_line = HashMap::new();
    let mut samples = Vec::with_capacity(image_lines.len());
    for ((line, name), (_, label)) in image_lines.iter().zip(&label_lines) {
        if let Some(first) = first_line.insert(name, *line) {
            return Err(DatasetError::ListedTwice {
                list: images.to_owned(),
                name: name.clone(),
                first,
                second: *line,
            });
        }
        let image = root.join(name);
        if absent == Absent::Refuse && !image.is_file() {
            return Err(DatasetError::ListedImageMissing {
                list: images.to_owned(),
                line: *line,
                image,
            });
        }
        samples.push(Sample {
            name: without_extension(name),
            image,
            label: root.join(label),
        });
    }
    Ok(samples)
}

fn without_extension(path: &str) -> String {
    PathBuf::from(path)
        .with_extension("")
        .to_string_lossy()
        .into_owned()
}
