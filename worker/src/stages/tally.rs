//! Confusion matrices of several heads while images are scored. On a GPU they stay there until all images are through, so
//! that neither predictions nor counts are waited for image by image.

use tch::{Device, Kind, Tensor};
use ulda_dataset::ConfusionMatrix;
use ulda_torch::Staging;

use super::StageError;
use super::predict::read_ids;

/// Pixels times classes of one product: the masks of truth and prediction take 4 bytes each of it. Float32 counts exactly
/// up to 2²⁴ pixels.
const CELLS: i64 = 19 << 21;

/// Pixels by truth and prediction, for each head.
#[derive(Debug)]
pub enum Tally {
    Host(Vec<ConfusionMatrix>),
    /// [heads, classes, classes], int64.
    OnDevice(Tensor),
}

impl Tally {
    /// # Errors
    /// When memory is out.
    pub fn new(heads: usize, classes: usize, device: Device) -> Result<Self, StageError> {
        Ok(match device {
            Device::Cuda(_) => Self::on_device(heads, classes, device)?,
            _ => Self::Host(vec![ConfusionMatrix::new(classes); heads]),
        })
    }

    fn on_device(heads: usize, classes: usize, device: Device) -> Result<Self, StageError> {
        let size = [heads as i64, classes as i64, classes as i64];
        Ok(Self::OnDevice(Tensor::f_zeros(size, (Kind::Int64, device))?))
    }

    /// Counts an image: its `label` by pixel (train ids, 255 ignored), and what each head `predicted`, u8 [pixels].
    ///
    /// # Errors
    /// When the sizes differ, or the computation of the predictions failed.
    pub fn add(&mut self, label: &[u8], predicted: &[Tensor]) -> Result<(), StageError> {
        match self {
            Self::Host(matrices) => {
                for (matrix, classes) in matrices.iter_mut().zip(predicted) {
                    matrix.add(label, &read_ids(classes)?)?;
                }
            }
            Self::OnDevice(counts) => {
                let device = counts.device();
                let truth =
                    Staging::of_bytes(std::iter::once(label), &[label.len() as i64], device)?.send()?;
                let truth = truth.f_flatten(0, -1)?;
                let count = counts.size()[1];
                let pixels = CELLS / count.max(4);
                let ids = Tensor::f_arange(count, (Kind::Int64, device))?;
                let ids = ids.f_to_kind(Kind::Uint8)?.f_unsqueeze(1)?;
                // [classes, pixels], 1 where a pixel has the class.
                let mask = |pixels: &Tensor| pixels.f_eq_tensor(&ids)?.f_to_kind(Kind::Float);
                for (part, truth) in truth.f_split(pixels, 0)?.iter().enumerate() {
                    let truth = mask(truth)?;
                    for (head, classes) in predicted.iter().enumerate() {
                        let from = part as i64 * pixels;
                        let classes = classes.f_narrow(0, from, truth.size()[1])?;
                        let found = truth.f_matmul(&mask(&classes)?.f_tr()?)?;
                        let _ = counts
                            .f_get(head as i64)?
                            .f_add_(&found.f_to_kind(Kind::Int64)?)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The counts of all heads, head by head.
    ///
    /// # Errors
    /// When earlier work of the device failed.
    pub fn counts(&self) -> Result<Vec<u64>, StageError> {
        Ok(match self {
            Self::Host(matrices) => matrices
                .iter()
                .flat_map(|matrix| matrix.counts().iter().copied())
                .collect(),
            Self::OnDevice(counts) => {
                let flat = Vec::<i64>::try_from(counts.f_flatten(0, -1)?)?;
                flat.into_iter().map(i64::unsigned_abs).collect()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::kind::INT64_CPU;

    #[test]
    fn counts_on_a_device_are_those_of_the_host() {
        tch::manual_seed(3);
        // More than one product, and the last of them short.
        let pixels = CELLS / 19 + 1000;
        let draw = |below: i64| Tensor::randint(below, [pixels], INT64_CPU).to_kind(Kind::Uint8);
        let label = draw(20);
        let label = label.where_self(&label.ne(19), &Tensor::from(255u8));
        let label = read_ids(&label).unwrap();
        let predicted = [draw(19), draw(3)];
        let mut host = Tally::new(2, 19, Device::Cpu).unwrap();
        let mut device = Tally::on_device(2, 19, Device::Cpu).unwrap();
        for _ in 0..2 {
            host.add(&label, &predicted).unwrap();
            device.add(&label, &predicted).unwrap();
        }
        let counts = host.counts().unwrap();
        assert_eq!(device.counts().unwrap(), counts);
        let labelled = label.iter().filter(|id| **id != 255).count();
        assert_eq!(counts.iter().sum::<u64>(), 4 * labelled as u64);
        assert_eq!(counts.len(), 2 * 361);
    }
}
