//! Fully connected layers whose initial values depend on a seed and nothing else.

use tch::{Device, Tensor};
use ulda_model::Seeded;

use crate::error::{Result, expect_shape};

/// Weight [out, in] and bias `[out]` of a fully connected layer, both leaves.
#[derive(Debug)]
pub struct Linear {
    /// [out, in].
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Tensor,
}

impl Linear {
    /// PyTorch's default: weight and bias uniform in ±1/√in.
    ///
    /// # Errors
    /// When the device is not there.
    pub fn new(inputs: i64, outputs: i64, random: &mut Seeded, device: Device) -> Result<Linear> {
        let weight = random
            .torch_default(&[outputs, inputs], inputs)
            .f_to_device(device)?;
        let bias = random.torch_default(&[outputs], inputs).f_to_device(device)?;
        Linear::from_values(&weight, &bias)
    }

    /// Leaves with copies of the given values.
    ///
    /// # Errors
    /// When weight and bias do not belong together.
    pub fn from_values(weight: &Tensor, bias: &Tensor) -> Result<Linear> {
        expect_shape("linear weight", weight, &[-1, -1])?;
        expect_shape("linear bias", bias, &[weight.size()[0]])?;
        let leaf =
            |value: &Tensor| -> Result<Tensor> { Ok(value.detach().copy().f_set_requires_grad(true)?) };
        Ok(Linear {
            weight: leaf(weight)?,
            bias: leaf(bias)?,
        })
    }

    /// x · weightᵀ + bias over the last dimension.
    ///
    /// # Errors
    /// When the last dimension of `x` is not the layer's input size.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.weight, Some(&self.bias))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_values_and_the_output_is_affine() {
        let draw = |seed| Linear::new(16, 8, &mut Seeded::new(seed), Device::Cpu).unwrap();
        assert!(draw(3).weight.equal(&draw(3).weight));
        assert!(!draw(3).weight.equal(&draw(4).weight));
        let layer = draw(9);
        let zero = Tensor::zeros([2, 16], (tch::Kind::Float, Device::Cpu));
        assert!(layer.forward(&zero).unwrap().get(1).equal(&layer.bias));
        let message = Linear::from_values(&layer.weight, &layer.weight)
            .unwrap_err()
            .to_string();
        assert_eq!(message, "`linear bias` has shape [8, 16], expected [8]");
    }
}
