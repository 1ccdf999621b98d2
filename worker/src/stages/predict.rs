//! Plain inference: no style, no rectifier (METHOD.md, "Evaluation and inference").

use tch::{Kind, Tensor, no_grad};
use ulda_dataset::{LabelMap, Size};
use ulda_model::{Backbone, Head, upsample};

use super::StageError;

/// Features of one image, shared by all heads that look at it.
pub struct Predictor {
    low: Tensor,
    deep: Tensor,
    size: Size,
}

impl Predictor {
    /// `image` is `[3, height, width]`, normalised as CLIP's.
    ///
    /// # Errors
    /// When libtorch refuses the image.
    pub fn new(
        backbone: &Backbone,
        image: &[f32],
        size: Size,
        device: tch::Device,
    ) -> Result<Self, StageError> {
        let shape = [1, 3, i64::from(size.height), i64::from(size.width)];
        let image = Tensor::f_from_slice(image)?.f_view(shape)?.f_to_device(device)?;
        let (low, deep) = no_grad(|| {
            let low = backbone.stem_and_layer1(&image);
            let deep = backbone.deep(&low);
            (low, deep)
        });
        Ok(Self { low, deep, size })
    }

    /// Most likely class of every pixel.
    ///
    /// # Errors
    /// When libtorch runs out of memory.
    pub fn classes(&self, head: &Head) -> Result<LabelMap, StageError> {
        let ids = no_grad(|| self.bytes(&self.logits(head).f_argmax(1, false)?))?;
        Ok(LabelMap { size: self.size, ids })
    }

    /// The same, and the probability of that class, by softmax: 0 to 255 for 0 to 1.
    ///
    /// # Errors
    /// When libtorch runs out of memory.
    pub fn classes_and_confidence(&self, head: &Head) -> Result<(LabelMap, Vec<u8>), StageError> {
        no_grad(|| {
            let logits = self.logits(head);
            let ids = self.bytes(&logits.f_argmax(1, false)?)?;
            let largest = logits.f_softmax(1, Kind::Float)?.f_amax([1], false)?;
            let confidence = self.bytes(&largest.f_mul_scalar(255.0)?.f_round()?)?;
            Ok((LabelMap { size: self.size, ids }, confidence))
        })
    }

    /// `[1, classes, height, width]`.
    fn logits(&self, head: &Head) -> Tensor {
        let logits = head.forward_eval(&self.deep, &self.low);
        upsample(&logits, [i64::from(self.size.height), i64::from(self.size.width)])
    }

    /// Whole numbers of 0 to 255, one for each pixel.
    fn bytes(&self, numbers: &Tensor) -> Result<Vec<u8>, StageError> {
        let numbers = numbers.f_to_kind(Kind::Uint8)?.f_flatten(0, -1)?.f_contiguous()?;
        let mut bytes = vec![0u8; self.size.pixels()];
        numbers.f_copy_data(&mut bytes, self.size.pixels())?;
        Ok(bytes)
    }
}
