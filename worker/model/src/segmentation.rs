//! The plain model: what is evaluated and exported.

use tch::{Device, Tensor};

use crate::clip::Backbone;
use crate::head::Head;
use crate::kept::{KeptMatrices, MatrixKey};
use crate::weights::{Weights, WeightsError};

static RESIZING: KeptMatrices = KeptMatrices::new();

/// Backbone and head, for inference: no style, no rectifier.
#[derive(Debug)]
pub struct SegmentationModel {
    pub backbone: Backbone,
    pub head: Head,
}

impl SegmentationModel {
    /// The backbone and the head of `weights`, on the CPU.
    ///
    /// # Errors
    /// See [`Backbone::load`] and [`Head::load`]; or the head was made for a backbone of other channels.
    pub fn load(weights: &Weights) -> Result<Self, WeightsError> {
        let (backbone, head) = (Backbone::load(weights)?, Head::load(weights)?);
        let (image, sizes) = (backbone.config(), head.config());
        let misfit = [
            ("the head's stage-4 channels", sizes.deep, image.deep_channels()),
            ("the head's low-level channels", sizes.low, image.low_channels()),
        ];
        let misfit = misfit.into_iter().find(|(_, found, expected)| found != expected);
        match misfit {
            Some((field, found, expected)) => Err(WeightsError::Size {
                path: weights.path().to_owned(),
                field,
                found,
                expected: format!("{expected}, its backbone's"),
            }),
            None => Ok(Self { backbone, head }),
        }
    }

    /// Logits [N, classes, H, W] of normalised images [N, 3, H, W].
    pub fn logits(&self, x: &Tensor) -> Tensor {
        let low = self.backbone.stem_and_layer1(x);
        let deep = self.backbone.deep(&low);
        let size = x.size();
        upsample(&self.head.forward_eval(&deep, &low), [size[2], size[3]])
    }

    /// A copy on another device (shallow on the same).
    pub fn to_device(&self, device: Device) -> Self {
        Self {
            backbone: self.backbone.to_device(device),
            head: self.head.to_device(device),
        }
    }
}

/// Bilinear resizing of [N, C, h, w] to `size` (height, width), without corner alignment.
///
/// On a GPU it is two matrix products: CUDA's own kernel adds gradients up in an order of its whim, so that no run
/// could be repeated.
pub fn upsample(x: &Tensor, size: [i64; 2]) -> Tensor {
    match x.device() {
        Device::Cuda(_) => upsample_by_products(x, size),
        _ => x.upsample_bilinear2d(size, false, None, None),
    }
}

fn upsample_by_products(x: &Tensor, [height, width]: [i64; 2]) -> Tensor {
    let (n, c, h, w) = x.size4().expect("feature maps have four dimensions");
    let tall = resizing(h, height, x).expand([n * c, height, h], false);
    let wide = resizing(w, width, x).tr();
    let rows = x.reshape([n * c * h, w]).matmul(&wide).view([n * c, h, width]);
    tall.bmm(&rows).view([n, c, height, width])
}

/// [to, from]: what each of `from` pixels gives to each of `to`.
fn resizing(from: i64, to: i64, like: &Tensor) -> Tensor {
    let key = MatrixKey {
        from,
        to,
        kind: like.kind(),
        device: like.device(),
    };
    RESIZING.get(key, || {
        let unit = Tensor::eye(from, (like.kind(), like.device())).view([1, from, from, 1]);
        let resized = unit.upsample_bilinear2d([to, 1], false, None, None);
        resized.view([from, to]).tr()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seeded;
    use crate::head::HeadConfig;
    use crate::miniature::{MiniatureSpec, tensors};
    use crate::weights::WeightsKind;

    #[test]
    fn a_head_of_another_backbone_is_refused_with_the_channels_of_both() {
        let with_head = |deep, low| {
            let mut named = tensors(&MiniatureSpec::default()).unwrap();
            named.extend(Head::new(HeadConfig::published(deep, low, 3), 1).state());
            let path = std::path::Path::new("model");
            let weights = Weights::from_tensors(path, WeightsKind::Safetensors, named).unwrap();
            SegmentationModel::load(&weights)
                .map(drop)
                .map_err(|error| error.to_string())
        };
        assert_eq!(with_head(512, 64), Ok(()));
        let refused = with_head(2048, 64).unwrap_err();
        assert!(
            refused.contains("stage-4 channels is 2048, expected 512"),
            "{refused}"
        );
        let refused = with_head(512, 256).unwrap_err();
        assert!(
            refused.contains("low-level channels is 256, expected 64"),
            "{refused}"
        );
    }

    #[test]
    fn products_resize_as_the_kernel_does_with_its_gradients() {
        let mut seeded = Seeded::new(3);
        for (small, size) in [([7_i64, 19], [13_i64, 37]), ([4, 5], [16, 20]), ([3, 3], [3, 3])] {
            let x = seeded
                .normal(&[2, 6, small[0], small[1]], 1.0)
                .set_requires_grad(true);
            let outer = seeded.normal(&[2, 6, size[0], size[1]], 1.0);
            let [plain, ours] = [upsample(&x, size), upsample_by_products(&x, size)];
            assert!(ours.allclose(&plain, 1e-5, 1e-5, false));
            let gradient = |y: &Tensor| {
                Tensor::run_backward(&[(y * &outer).sum(tch::Kind::Float)], &[&x], true, false).remove(0)
            };
            assert!(gradient(&ours).allclose(&gradient(&plain), 1e-5, 1e-5, false));
        }
    }
}
