//! The plain model: what is evaluated and exported.

use tch::{Device, Tensor};

use crate::clip::Backbone;
use crate::head::Head;

/// Backbone and head, for inference: no style, no rectifier.
#[derive(Debug)]
pub struct SegmentationModel {
    pub backbone: Backbone,
    pub head: Head,
}

impl SegmentationModel {
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
pub fn upsample(x: &Tensor, size: [i64; 2]) -> Tensor {
    x.upsample_bilinear2d(size, false, None, None)
}
