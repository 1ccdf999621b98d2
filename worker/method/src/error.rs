//! What can go wrong in the method's blocks. Every message names the thing it is about.

use tch::TchError;

/// A failure of one of the method's blocks.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// libtorch refused an operation, or an exchange failed inside a backward pass; the source says which.
    #[error("libtorch refused an operation")]
    Tensor(#[from] TchError),

    /// The shim around libtorch failed; a broken collective inside a forward pass surfaces here.
    #[error(transparent)]
    Torch(#[from] ulda_torch::TorchError),

    /// The image tower refused its input.
    #[error(transparent)]
    Backbone(#[from] ulda_model::clip::BackboneError),

    /// A tensor has another shape than the block needs.
    #[error("`{what}` has shape {found:?}, expected {expected}")]
    Shape {
        what: String,
        found: Vec<i64>,
        expected: String,
    },

    /// The head's batch normalisation cannot work on one value per channel.
    #[error(
        "{stage} has {images} image(s) in the batch, but the head normalises over the batch and needs at least 2"
    )]
    BatchTooSmall { stage: &'static str, images: i64 },

    /// A loss is weighted, but the network that it needs was not given.
    #[error("the weight of {loss} is not 0, but no {needs} was given")]
    MissingNetwork { loss: &'static str, needs: &'static str },

    /// The prototypes that came back from the exchange are not one per (domain, image).
    #[error(
        "prototype exchange at iteration {iteration}: {found}; expected one entry per domain and image, {domains} x {images}"
    )]
    IncompletePrototypes {
        iteration: usize,
        domains: usize,
        images: usize,
        found: String,
    },

    /// Another part of the distributed computation failed or gave up.
    #[error("{what}: {reason}")]
    Exchange { what: &'static str, reason: String },

    /// The loss is not a number any more.
    #[error("the loss became {value} at {at}")]
    NotFinite { value: f64, at: String },

    /// A named tensor of a saved state is missing or superfluous.
    #[error("saved state: tensor `{name}` is {problem}")]
    State { name: String, problem: String },

    /// A setting has a value that means nothing.
    #[error("`{field}` is {value}, but {rule}")]
    Setting {
        field: &'static str,
        value: f64,
        rule: &'static str,
    },
}

impl MethodError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::BatchTooSmall { .. } => "raise the batch size",
            Self::NotFinite { .. } => "lower the learning rate or look at the input named before it",
            Self::Backbone(error) => return error.hint(),
            Self::Tensor(_)
            | Self::Torch(_)
            | Self::Shape { .. }
            | Self::MissingNetwork { .. }
            | Self::IncompletePrototypes { .. }
            | Self::Exchange { .. }
            | Self::State { .. }
            | Self::Setting { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Short for results of this crate.
pub type Result<T, E = MethodError> = std::result::Result<T, E>;

/// Checks a shape; −1 in `expected` stands for any size.
pub(crate) fn expect_shape(what: &str, tensor: &tch::Tensor, expected: &[i64]) -> Result<()> {
    let found = tensor.size();
    let fits = found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(have, want)| *want == -1 || have == want);
    if fits {
        return Ok(());
    }
    let expected: Vec<String> = expected
        .iter()
        .map(|size| {
            if *size == -1 {
                "_".to_string()
            } else {
                size.to_string()
            }
        })
        .collect();
    Err(MethodError::Shape {
        what: what.to_string(),
        found,
        expected: format!("[{}]", expected.join(", ")),
    })
}
