//! The text-driven rectifier (TDR) of stage 2: METHOD "Stage 2", golden README items 26 to 31.
//!
//! The published optimiser also holds a third MLP that is never used; it has no gradient and no effect and is left out.

use tch::{Device, Kind, Tensor};
use ulda_model::Seeded;

use crate::error::{MethodError, Result, expect_shape};
use crate::linear::Linear;
use crate::stats::Stats;

/// Published start of the per-channel scale β.
pub const PUBLISHED_SCALE: f64 = 0.01;

/// Linear(E, C₁) → ReLU → Linear(C₁, C₁).
#[derive(Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
}

impl Mlp {
    fn forward(&self, text: &Tensor) -> Result<Tensor> {
        self.second.forward(&self.first.forward(text)?.f_relu_()?)
    }

    fn named(&self, prefix: &str) -> Vec<(String, Tensor)> {
        [
            ("projector.0.weight", &self.first.weight),
            ("projector.0.bias", &self.first.bias),
            ("projector.2.weight", &self.second.weight),
            ("projector.2.bias", &self.second.bias),
        ]
        .map(|(name, tensor)| (format!("{prefix}.{name}"), tensor.shallow_clone()))
        .into()
    }
}

/// Two MLPs on the domain's scene embedding and the scale β.
#[derive(Debug)]
pub struct Rectifier {
    mean: Mlp,
    std: Mlp,
    scale: Tensor,
}

/// What a forward pass computed on the way to its result.
#[derive(Debug)]
pub struct Rectified {
    /// f″ [N, C₁, H, W]; no ReLU after it, so it may be negative.
    pub feature: Tensor,
    /// Statistics of the styled feature that went in.
    pub styled: Stats,
    /// μ̃ [N, C₁].
    pub mean: Tensor,
    /// σ̃ [N, C₁], clamped at 0.
    pub std: Tensor,
}

impl Rectifier {
    /// PyTorch's default initialisation from `seed`; β is `scale` in every channel.
    ///
    /// # Errors
    /// When the device is not there.
    pub fn new(embedding: i64, channels: i64, scale: f64, seed: u64, device: Device) -> Result<Rectifier> {
        let mut random = Seeded::new(seed);
        let mut mlp = || -> Result<Mlp> {
            Ok(Mlp {
                first: Linear::new(embedding, channels, &mut random, device)?,
                second: Linear::new(channels, channels, &mut random, device)?,
            })
        };
        let (mean, std) = (mlp()?, mlp()?);
        let scale = Tensor::f_full([channels], scale, (Kind::Float, device))?.f_set_requires_grad(true)?;
        Ok(Rectifier { mean, std, scale })
    }

    /// From saved values: `find` gives the tensor of a published name ([`Rectifier::mlp_parameters`], `learnable_scale`).
    ///
    /// # Errors
    /// When a name is missing or the shapes do not chain.
    pub fn from_named(find: impl Fn(&str) -> Option<Tensor>) -> Result<Rectifier> {
        let take = |name: String| -> Result<Tensor> {
            find(&name).ok_or(MethodError::State {
                name,
                problem: "missing from the rectifier".into(),
            })
        };
        let linear = |prefix: String| -> Result<Linear> {
            Linear::from_values(
                &take(format!("{prefix}.weight"))?,
                &take(format!("{prefix}.bias"))?,
            )
        };
        let mlp = |prefix: &str| -> Result<Mlp> {
            Ok(Mlp {
                first: linear(format!("{prefix}.projector.0"))?,
                second: linear(format!("{prefix}.projector.2"))?,
            })
        };
        let (mean, std) = (mlp("tdr_mean")?, mlp("tdr_std")?);
        let scale = take("learnable_scale".into())?;
        let channels = mean.first.weight.size()[0];
        for (name, found) in [
            ("tdr_mean.projector.2.weight", &mean.second.weight),
            ("tdr_std.projector.2.weight", &std.second.weight),
        ] {
            expect_shape(name, found, &[channels, channels])?;
        }
        expect_shape(
            "tdr_std.projector.0.weight",
            &std.first.weight,
            &mean.first.weight.size(),
        )?;
        expect_shape("learnable_scale", &scale, &[channels])?;
        let scale = scale.detach().copy().f_set_requires_grad(true)?;
        Ok(Rectifier { mean, std, scale })
    }

    /// Parameters of both MLPs under their published names, shallow; mean first.
    pub fn mlp_parameters(&self) -> Vec<(String, Tensor)> {
        let mut named = self.mean.named("tdr_mean");
        named.extend(self.std.named("tdr_std"));
        named
    }

    /// β under its published name, shallow.
    pub fn scale_parameter(&self) -> (String, Tensor) {
        ("learnable_scale".into(), self.scale.shallow_clone())
    }

    /// All parameters under their published names, shallow: those of the MLPs, then β.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut named = self.mlp_parameters();
        named.push(self.scale_parameter());
        named
    }

    /// f″ = β · (normalised(f′) · σ̃ + μ̃) + f′ for `styled` f′ [N, C₁, H, W] and each sample's scene embedding
    /// `texts` [N, E]. The clamp of σ̃ at 0 is inside autograd: no gradient flows where it was negative.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, styled: &Tensor, texts: &Tensor) -> Result<Rectified> {
        let (n, c, _, _) = styled.size4()?;
        expect_shape("learnable_scale", &self.scale, &[c])?;
        expect_shape(
            "scene embeddings of the samples",
            texts,
            &[n, self.mean.first.weight.size()[1]],
        )?;
        let stats = Stats::of(styled)?;
        let mean = self.mean.forward(texts)?;
        let std = self.std.forward(texts)?.f_clamp_min(0.0)?;
        let broadcast = |rows: &Tensor| rows.f_view([n, c, 1, 1]);
        let target = broadcast(&mean)?.f_addcmul(&stats.normalise(styled)?, &broadcast(&std)?)?;
        let feature = styled.f_addcmul(&target, &self.scale.f_view([1, c, 1, 1])?)?;
        Ok(Rectified {
            feature,
            styled: stats,
            mean,
            std,
        })
    }
}
