//! Images as the networks take them. A CPU's are normalised by the threads that decode; a GPU's come as bytes, which it
//! normalises itself.

use tch::{Device, Kind, Tensor};
use ulda_dataset::{CLIP_MEAN, CLIP_STD, ImagePixels, PixelFormat, Size};
use ulda_torch::{Staging, upload};

use super::StageError;

/// How images for `device` are decoded.
pub fn format_for(device: Device) -> PixelFormat {
    match device {
        Device::Cuda(_) => PixelFormat::Rgb,
        _ => PixelFormat::Normalised,
    }
}

/// Makes batches on a device.
#[derive(Debug)]
pub struct Normaliser {
    device: Device,
    /// 1 / (255 · deviation), then −mean / deviation, [1, 3, 1, 1] each.
    scale: Tensor,
    shift: Tensor,
}

impl Normaliser {
    /// # Errors
    /// When memory is out.
    pub fn new(device: Device) -> Result<Self, StageError> {
        let channels = |value: fn(usize) -> f32| -> Result<Tensor, StageError> {
            let values = Tensor::f_from_slice(&[0, 1, 2].map(value))?.f_view([1, 3, 1, 1])?;
            Ok(upload(&values, device)?)
        };
        Ok(Self {
            device,
            scale: channels(|channel| 1.0 / (255.0 * CLIP_STD[channel]))?,
            shift: channels(|channel| -CLIP_MEAN[channel] / CLIP_STD[channel])?,
        })
    }

    /// `images`, all of `size` and of one format, as [n, 3, height, width], normalised as CLIP's.
    ///
    /// # Errors
    /// When one has another size or format.
    pub fn batch<'a>(
        &self,
        images: impl IntoIterator<Item = &'a ImagePixels>,
        size: Size,
    ) -> Result<Tensor, StageError> {
        let (height, width) = (i64::from(size.height), i64::from(size.width));
        let (mut normalised, mut rgb): (_, Vec<&[u8]>) = (Vec::new(), Vec::new());
        for image in images {
            match image {
                ImagePixels::Normalised(values) => {
                    normalised.push(Tensor::f_from_slice(values)?.f_view([3, height, width])?);
                }
                ImagePixels::Rgb(values) => rgb.push(values),
            }
        }
        match (normalised.is_empty(), rgb.is_empty()) {
            (true, true) => Ok(Tensor::f_zeros(
                [0, 3, height, width],
                (Kind::Float, self.device),
            )?),
            (false, true) => Ok(upload(&joined(&normalised)?, self.device)?),
            (true, false) => {
                let bytes = Staging::of_bytes(rgb.into_iter(), &[height, width, 3], self.device)?.send()?;
                let values = bytes.f_permute([0, 3, 1, 2])?.f_to_kind(Kind::Float)?;
                Ok(self.shift.f_addcmul(&values, &self.scale)?)
            }
            (false, false) => Err(StageError::Shape {
                what: "images of two pixel formats in one batch".to_owned(),
            }),
        }
    }
}

/// [n, …], without a copy of one alone.
fn joined(images: &[Tensor]) -> Result<Tensor, StageError> {
    Ok(match images {
        [one] => one.f_unsqueeze(0)?,
        several => Tensor::f_stack(several, 0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulda_dataset::{Image, normalise};

    #[test]
    fn bytes_are_normalised_as_the_decoders_do_it() {
        let size = Size::new(16, 16);
        let image = |seed: usize| Image {
            size,
            rgb: (0..3 * 256).map(|at| ((at * 7 + seed) % 256) as u8).collect(),
        };
        let images = [image(0), image(5)];
        let normaliser = Normaliser::new(Device::Cpu).unwrap();
        let batch = |pixels: [ImagePixels; 2]| normaliser.batch(&pixels, size).unwrap();
        let exact = batch(
            images
                .each_ref()
                .map(|image| ImagePixels::Normalised(normalise(image))),
        );
        let ours = batch(images.map(|image| ImagePixels::Rgb(image.rgb)));
        assert_eq!(ours.size(), [2, 3, 16, 16]);
        assert!(ours.allclose(&exact, 1e-6, 1e-6, false));
        assert_eq!(normaliser.batch([], size).unwrap().size(), [0, 3, 16, 16]);
    }
}
