//! Plain inference: no style, no rectifier (METHOD.md, "Evaluation and inference").

use tch::{Kind, Tensor, no_grad};
use ulda_dataset::{ImagePixels, LabelMap, Size};
use ulda_model::{Backbone, Head, upsample};

use super::StageError;
use super::pixels::Normaliser;

/// Features of one image, shared by all heads that look at it.
pub struct Predictor {
    low: Tensor,
    deep: Tensor,
    size: Size,
}

impl Predictor {
    /// Features of `image`, which has `size`.
    ///
    /// # Errors
    /// When libtorch refuses the image.
    pub fn new(
        backbone: &Backbone,
        image: &ImagePixels,
        size: Size,
        normaliser: &Normaliser,
    ) -> Result<Self, StageError> {
        let image = normaliser.batch([image], size)?;
        let (low, deep) = no_grad(|| {
            let low = backbone.stem_and_layer1(&image);
            let deep = backbone.deep(&low);
            (low, deep)
        });
        Ok(Self { low, deep, size })
    }

    /// Most likely class of every pixel, u8 [height · width], where the image is.
    ///
    /// # Errors
    /// When libtorch runs out of memory.
    pub fn classes(&self, head: &Head) -> Result<Tensor, StageError> {
        no_grad(|| flat_bytes(&self.logits(head).f_argmax(1, false)?))
    }

    /// The `classes` of a head as a label map, which waits for them.
    ///
    /// # Errors
    /// When the computation before it failed.
    pub fn label_map(&self, classes: &Tensor) -> Result<LabelMap, StageError> {
        let ids = read_ids(classes)?;
        Ok(LabelMap { size: self.size, ids })
    }

    /// Most likely class of every pixel, and its probability by softmax: 0 to 255 for 0 to 1.
    ///
    /// # Errors
    /// When libtorch runs out of memory.
    pub fn classes_and_confidence(&self, head: &Head) -> Result<(LabelMap, Vec<u8>), StageError> {
        no_grad(|| {
            let logits = self.logits(head);
            let ids = flat_bytes(&logits.f_argmax(1, false)?)?;
            let largest = logits.f_softmax(1, Kind::Float)?.f_amax([1], false)?;
            let confidence = flat_bytes(&largest.f_mul_scalar(255.0)?.f_round()?)?;
            Ok((self.label_map(&ids)?, read_ids(&confidence)?))
        })
    }

    /// [1, classes, height, width].
    fn logits(&self, head: &Head) -> Tensor {
        let logits = head.forward_eval(&self.deep, &self.low);
        upsample(&logits, [i64::from(self.size.height), i64::from(self.size.width)])
    }
}

/// Whole numbers of 0 to 255, u8 [height · width].
fn flat_bytes(numbers: &Tensor) -> Result<Tensor, StageError> {
    Ok(numbers.f_to_kind(Kind::Uint8)?.f_flatten(0, -1)?.f_contiguous()?)
}

/// The bytes of a u8 tensor, waited for.
///
/// # Errors
/// When the computation before it failed.
pub fn read_ids(classes: &Tensor) -> Result<Vec<u8>, StageError> {
    let mut ids = vec![0u8; classes.numel()];
    classes.f_copy_data(&mut ids, classes.numel())?;
    Ok(ids)
}
