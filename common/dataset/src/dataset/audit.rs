//! Looks at every sample and reports all that is wrong, before a run starts.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Dataset, Sample};
use crate::decode::{check_image_header, read_image};
use crate::error::SampleError;
use crate::example::CROP_KEY;
use crate::geometry::Size;
use crate::header::{read_header, read_png_header};

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Existence, format, and sizes: a few bytes per file.
    Headers,
    /// Everything: decodes all pixels, verifies checksums, and checks every label id.
    Pixels,
}

/// One thing wrong with one sample. Prints as the error.
#[derive(Debug)]
pub struct SampleFinding {
    /// Place in [`Dataset::samples`].
    pub sample: usize,
    pub name: String,
    pub error: SampleError,
}

impl fmt::Display for SampleFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Dataset {
    /// Checks every sample on all cores and returns all findings, in sample order; empty means all is well.
    ///
    /// With `crop`, images smaller than it are findings too (unless a centre crop fixes their size).
    pub fn audit(&self, depth: Depth, crop: Option<Size>) -> Vec<SampleFinding> {
        let threads = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(self.samples.len().max(1));
        let next = AtomicUsize::new(0);
        let examine = || {
            let mut findings = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(sample) = self.samples.get(index) else {
                    return findings;
                };
                let errors = self.examine(sample, depth, crop);
                findings.extend(errors.into_iter().map(|error| SampleFinding {
                    sample: index,
                    name: sample.name.clone(),
                    error,
                }));
            }
        };
        let mut findings: Vec<SampleFinding> = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(examine)).collect();
            let mut findings = examine();
            for other in others {
                match other.join() {
                    Ok(found) => findings.extend(found),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            findings
        });
        findings.sort_by_key(|finding| finding.sample);
        findings
    }

    fn examine(&self, sample: &Sample, depth: Depth, crop: Option<Size>) -> Vec<SampleError> {
        let mut errors = Vec::new();
        let image = look(&mut errors, || {
            let header = read_header(&sample.image)?;
            check_image_header(&sample.image, &header)?;
            Ok(header.size())
        });
        let label = look(&mut errors, || {
            let header = read_png_header(&sample.label)?;
            self.labels().check_header(&sample.label, &header)?;
            Ok(header.size)
        });
        if let (Some(image_size), Some(label_size)) = (image, label)
            && image_size != label_size
        {
            let (image, label) = (sample.image.clone(), sample.label.clone());
            errors.push(SampleError::SizeMismatch {
                image,
                image_size,
                label,
                label_size,
            });
        }
        if let (Some(crop), Some(file)) = (crop, image) {
            let image = self.centre_crop().unwrap_or(file);
            if !image.holds(crop) {
                errors.push(SampleError::CropTooLarge {
                    path: sample.image.clone(),
                    image,
                    crop,
                    key: CROP_KEY,
                });
            }
        }
        if depth == Depth::Pixels {
            if image.is_some() {
                look(&mut errors, || read_image(&sample.image));
            }
            if label.is_some() {
                look(&mut errors, || {
                    let map = self.labels().read(&sample.label)?;
                    self.labels().check(&sample.label, &map)
                });
            }
        }
        errors
    }
}

fn look<T>(errors: &mut Vec<SampleError>, read: impl FnOnce() -> Result<T, SampleError>) -> Option<T> {
    match read() {
        Ok(value) => Some(value),
        Err(error) => {
            errors.push(error);
            None
        }
    }
}
