//! CLIP's text tower, frozen (CLIP `model.py`, `encode_text`).

use tch::{Device, Kind, Tensor};

use crate::clip::config::TextConfig;
use crate::clip::tokenizer::{TokenizeError, Tokenizer};
use crate::weights::{Picker, Weights, WeightsError};

const LAYER_NORM_EPS: f64 = 1e-5;

/// A prompt cannot be encoded.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EncodeError {
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    #[error("token {token} is beyond the checkpoint's vocabulary of {vocabulary}")]
    Vocabulary { token: i64, vocabulary: i64 },
}

impl EncodeError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Tokenize(error) => error.hint(),
            Self::Vocabulary { .. } => Some("the method needs CLIP's 49408".to_owned()),
        }
    }
}

/// Text transformer with tokenizer.
pub struct TextEncoder {
    config: TextConfig,
    tokenizer: Tokenizer,
    tokens: Tensor,
    positions: Tensor,
    blocks: Vec<Block>,
    last_norm: Norm,
    projection: Tensor,
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
}

struct Block {
    attention_norm: Norm,
    attention_in: (Tensor, Tensor),
    attention_out: (Tensor, Tensor),
    mlp_norm: Norm,
    mlp_in: (Tensor, Tensor),
    mlp_out: (Tensor, Tensor),
}

impl TextEncoder {
    /// The text tower of `weights`, on `device`.
    ///
    /// # Errors
    /// Tensors are missing (all named at once) or have other shapes than the tower's sizes imply.
    pub fn load(weights: &Weights, device: Device) -> Result<Self, WeightsError> {
        let config = TextConfig::read(weights)?;
        let mut picker = weights.pick();
        let width = config.width;
        let blocks = (0..config.layers)
            .map(|index| {
                Block::take(
                    &mut picker,
                    &format!("transformer.resblocks.{index}"),
                    width,
                    device,
                )
            })
            .collect();
        let encoder = Self {
            tokens: picker
                .take("token_embedding.weight", &[config.vocabulary, width])
                .to_device(device),
            positions: picker
                .take("positional_embedding", &[config.context, width])
                .to_device(device),
            last_norm: Norm::take(&mut picker, "ln_final", width, device),
            projection: picker
                .take("text_projection", &[width, config.embed])
                .to_device(device),
            tokenizer: Tokenizer::new(),
            blocks,
            config,
        };
        picker.finish(encoder)
    }

    /// Sizes.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// Token ids of the prompts, [M, context] (i64).
    ///
    /// # Errors
    /// A prompt is too long, or the vocabulary is not CLIP's.
    pub fn tokenize<S: AsRef<str>>(&self, prompts: &[S]) -> Result<Tensor, EncodeError> {
        let TextConfig {
            context, vocabulary, ..
        } = self.config;
        let mut ids = Vec::with_capacity(prompts.len() * context as usize);
        for prompt in prompts {
            ids.extend(self.tokenizer.encode(prompt.as_ref(), context as usize)?);
        }
        match ids.iter().max() {
            Some(&token) if token >= vocabulary => Err(EncodeError::Vocabulary { token, vocabulary }),
            _ => Ok(Tensor::from_slice(&ids).view([-1, context])),
        }
    }

    /// Text features of the prompts, [M, E], not normalised.
    ///
    /// # Errors
    /// A prompt is too long, or the vocabulary is not CLIP's.
    pub fn encode<S: AsRef<str>>(&self, prompts: &[S]) -> Result<Tensor, EncodeError> {
        let ids = self.tokenize(prompts)?;
        Ok(tch::no_grad(|| {
            self.features(&ids.to_device(self.tokens.device()))
        }))
    }

    /// Text features [M, E] of token ids [M, context]: read at the position of the largest id, which is
    /// the end token.
    fn features(&self, ids: &Tensor) -> Tensor {
        let end = ids.argmax(1, false);
        // Attention is causal: what follows the last end token cannot be seen from it.
        let length = end.max().int64_value(&[]) + 1;
        let ids = ids.narrow(1, 0, length);
        let embedded =
            Tensor::embedding(&self.tokens, &ids, -1, false, false) + self.positions.narrow(0, 0, length);
        let options = (Kind::Float, self.tokens.device());
        let mask = Tensor::full([length, length], f64::NEG_INFINITY, options).triu(1);
        let x = self
            .blocks
            .iter()
            .fold(embedded, |x, block| block.forward(&x, &mask, self.config.heads));
        let rows = Tensor::arange(x.size()[0], (Kind::Int64, x.device()));
        let ends = x.index(&[Some(&rows), Some(&end)]);
        self.last_norm.forward(&ends).matmul(&self.projection)
    }
}

impl Norm {
    fn take(picker: &mut Picker<'_>, name: &str, width: i64, device: Device) -> Self {
        let mut take = |field: &str| {
            picker
                .take(&format!("{name}.{field}"), &[width])
                .to_device(device)
        };
        Self {
            weight: take("weight"),
            bias: take("bias"),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(
            self.weight.size(),
            Some(&self.weight),
            Some(&self.bias),
            LAYER_NORM_EPS,
            false,
        )
    }
}

impl Block {
    fn take(picker: &mut Picker<'_>, name: &str, width: i64, device: Device) -> Self {
        let attention_norm = Norm::take(picker, &format!("{name}.ln_1"), width, device);
        let mlp_norm = Norm::take(picker, &format!("{name}.ln_2"), width, device);
        let mut linear = |weight: &str, bias: &str, input: i64, output: i64| {
            let weight = picker
                .take(&format!("{name}.{weight}"), &[output, input])
                .to_device(device);
            (
                weight,
                picker
                    .take(&format!("{name}.{bias}"), &[output])
                    .to_device(device),
            )
        };
        Self {
            attention_norm,
            attention_in: linear("attn.in_proj_weight", "attn.in_proj_bias", width, 3 * width),
            attention_out: linear("attn.out_proj.weight", "attn.out_proj.bias", width, width),
            mlp_norm,
            mlp_in: linear("mlp.c_fc.weight", "mlp.c_fc.bias", width, 4 * width),
            mlp_out: linear("mlp.c_proj.weight", "mlp.c_proj.bias", 4 * width, width),
        }
    }

    /// [M, T, width] → the same shape.
    fn forward(&self, x: &Tensor, mask: &Tensor, heads: i64) -> Tensor {
        let x = x + self.attend(&self.attention_norm.forward(x), mask, heads);
        let inner = linear(&self.mlp_norm.forward(&x), &self.mlp_in);
        let gelu = &inner * (&inner * 1.702).sigmoid();
        &x + linear(&gelu, &self.mlp_out)
    }

    fn attend(&self, x: &Tensor, mask: &Tensor, heads: i64) -> Tensor {
        let (prompts, length, width) = x.size3().expect("token features have three dimensions");
        let head_width = width / heads;
        let parts = linear(x, &self.attention_in).chunk(3, -1);
        let split = |t: &Tensor| t.reshape([prompts, length, heads, head_width]).transpose(1, 2);
        let query = split(&parts[0]) * (head_width as f64).powf(-0.5);
        let scores = query.matmul(&split(&parts[1]).transpose(2, 3)) + mask;
        let mixed = scores.softmax(-1, Kind::Float).matmul(&split(&parts[2]));
        linear(
            &mixed.transpose(1, 2).reshape([prompts, length, width]),
            &self.attention_out,
        )
    }
}

fn linear(x: &Tensor, (weight, bias): &(Tensor, Tensor)) -> Tensor {
    x.linear(weight, Some(bias))
}
