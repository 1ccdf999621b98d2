//! Channel statistics of a feature map: METHOD "Notation", `stats(f)`.

use tch::Tensor;

use crate::error::Result;

/// Added to the variance before the square root.
pub const VARIANCE_EPSILON: f64 = 1e-5;

/// Mean and standard deviation per image and channel.
#[derive(Debug)]
pub struct Stats {
    /// [N, C, 1, 1].
    pub mean: Tensor,
    /// [N, C, 1, 1]: square root of the unbiased variance plus 1e-5.
    pub std: Tensor,
}

impl Stats {
    /// Statistics of `feature` [N, C, H, W] over its pixels; differentiable.
    ///
    /// # Errors
    /// When libtorch refuses the tensor (not four-dimensional, not floating point).
    pub fn of(feature: &Tensor) -> Result<Stats> {
        let (n, c, _, _) = feature.size4()?;
        if n == 0 {
            // A shard without images; libtorch would warn about every channel.
            let empty = Tensor::f_zeros([0, c, 1, 1], (feature.kind(), feature.device()))?;
            return Ok(Stats {
                mean: empty.shallow_clone(),
                std: empty,
            });
        }
        let (var, mean) = feature.f_var_mean_correction([2i64, 3].as_slice(), 1, true)?;
        Ok(Stats {
            mean,
            std: var.f_add_scalar(VARIANCE_EPSILON)?.f_sqrt()?,
        })
    }

    /// (feature − mean) / std, [N, C, H, W].
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn normalise(&self, feature: &Tensor) -> Result<Tensor> {
        Ok(feature.f_sub(&self.mean)?.f_div(&self.std)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variance_is_unbiased_and_offset() {
        let feature = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 7.0, 7.0, 7.0, 7.0]).view([1, 2, 2, 2]);
        let stats = Stats::of(&feature).unwrap();
        let std: Vec<f32> = stats.std.flatten(0, -1).try_into().unwrap();
        assert!((std[0] - (5.0f32 / 3.0 + 1e-5).sqrt()).abs() < 1e-6);
        assert!((std[1] - 1e-5f32.sqrt()).abs() < 1e-8);
        let constant: f64 = stats
            .normalise(&feature)
            .unwrap()
            .select(1, 1)
            .abs()
            .max()
            .double_value(&[]);
        assert_eq!(constant, 0.0);
    }
}
