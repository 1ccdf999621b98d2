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
        no_grad(|| {
            let logits = head.forward_eval(&self.deep, &self.low);
            let logits = upsample(&logits, [i64::from(self.size.height), i64::from(self.size.width)]);
            let classes = logits.f_argmax(1, false)?.f_to_kind(Kind::Uint8)?;
            Ok(classes.f_flatten(0, -1)?.f_contiguous()?)
        })
    }

    /// The `classes` of a head as a label map, which waits for them.
    ///
    /// # Errors
    /// When the computation before it failed.
    pub fn label_map(&self, classes: &Tensor) -> Result<LabelMap, StageError> {
        let ids = read_ids(classes)?;
        Ok(LabelMap { size: self.size, ids })
    }
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
