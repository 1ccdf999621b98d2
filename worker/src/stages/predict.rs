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
        let ids = no_grad(|| -> Result<Vec<u8>, StageError> {
            let logits = head.forward_eval(&self.deep, &self.low);
            let logits = upsample(&logits, [i64::from(self.size.height), i64::from(self.size.width)]);
            let classes = logits
                .f_argmax(1, false)?
                .f_to_kind(Kind::Uint8)?
                .f_flatten(0, -1)?
                .f_contiguous()?;
            let mut ids = vec![0u8; self.size.pixels()];
            classes.f_copy_data(&mut ids, self.size.pixels())?;
            Ok(ids)
        })?;
        Ok(LabelMap { size: self.size, ids })
    }
}
