//! Datasets as their publishers lay them out on disk: which samples a split has, whether they changed, what is wrong.

mod audit;
mod error;
mod files;
mod fingerprint;
mod listing;

use std::path::{Path, PathBuf};

use ulda_run::Classes;
use ulda_run::spec::DatasetConfig;

pub use audit::{Depth, SampleFinding};
pub use error::DatasetError;
pub use fingerprint::Fingerprint;

use self::listing::Absent;
use crate::error::SampleError;
use crate::geometry::Size;
use crate::header::read_header;
use crate::label_table::LabelTable;

/// An image with its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// File name of the image without its extension; with layout `files` its path below the root.
    pub name: String,
    pub image: PathBuf,
    pub label: PathBuf,
}

/// The samples of one split. Sorted by full path, or in the order of the list file.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub samples: Vec<Sample>,
    /// Images left out because of their size.
    pub left_out: usize,
    labels: LabelTable,
    spec: DatasetConfig,
}

impl Dataset {
    /// Lists the split and makes sure that it can be trained on: it has samples, and every label exists.
    ///
    /// Reads no pixels; see [`Dataset::audit`]. With `only_size` each image's header is read.
    pub fn open(spec: &DatasetConfig) -> Result<Self, DatasetError> {
        let dataset = Self::of_samples(spec, listing::samples(spec, Absent::Refuse)?)?;
        if spec.only_size.is_some() {
            // Those with an unreadable header were kept, and are refused here.
            for sample in &dataset.samples {
                read_header(&sample.image)?;
            }
        }
        let mut missing = dataset.samples.iter().filter(|sample| !sample.label.is_file());
        if let Some(sample) = missing.next() {
            return Err(DatasetError::LabelMissing {
                image: sample.image.clone(),
                label: sample.label.clone(),
                others: missing.count(),
            });
        }
        Ok(dataset)
    }

    /// Lists the split without looking for the files; images whose header cannot be read stay in the list.
    ///
    /// For an audit, which then reports every broken sample rather than the first.
    pub fn list(spec: &DatasetConfig) -> Result<Self, DatasetError> {
        Self::of_samples(spec, listing::samples(spec, Absent::Keep)?)
    }

    /// No samples of the split, for a run that reads none of it.
    ///
    /// # Errors
    /// The configuration describes no labels.
    pub fn without_samples(spec: &DatasetConfig) -> Result<Self, DatasetError> {
        Ok(Self {
            left_out: 0,
            samples: Vec::new(),
            labels: LabelTable::of(spec)?,
            spec: spec.clone(),
        })
    }

    fn of_samples(spec: &DatasetConfig, mut samples: Vec<Sample>) -> Result<Self, DatasetError> {
        let listed = samples.len();
        if let Some(size) = spec.only_size.map(Size::from) {
            samples.retain(|sample| read_header(&sample.image).map_or(true, |header| header.size() == size));
            if samples.is_empty() {
                return Err(DatasetError::NoneOfSize {
                    root: spec.root.clone(),
                    split: spec.split.clone(),
                    size,
                    listed,
                });
            }
        }
        Ok(Self {
            left_out: listed - samples.len(),
            samples,
            labels: LabelTable::of(spec)?,
            spec: spec.clone(),
        })
    }

    /// What the values of its label files mean.
    pub(crate) fn labels(&self) -> &LabelTable {
        &self.labels
    }

    /// What its labels tell apart.
    pub fn classes(&self) -> &Classes {
        &self.spec.classes
    }

    pub fn root(&self) -> &Path {
        &self.spec.root
    }

    pub fn centre_crop(&self) -> Option<Size> {
        self.spec.centre_crop.map(Size::from)
    }

    pub fn len(&self) -> usize {
        self.samples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Size in pixels of the image that [`crate::load`] frames: the centre crop where there is one, else the file's.
    pub fn image_size(&self, sample: usize) -> Result<Size, SampleError> {
        let entry = self
            .samples
            .get(sample)
            .ok_or_else(|| SampleError::NoSuchSample {
                root: self.spec.root.clone(),
                index: sample,
                count: self.samples.len(),
            })?;
        match self.centre_crop() {
            Some(size) => Ok(size),
            None => Ok(read_header(&entry.image)?.size()),
        }
    }
}
