//! Taking many tensors while collecting everything that is wrong.

use tch::{Kind, Tensor};

use crate::weights::{Weights, WeightsError};

/// Takes tensors by name and shape. A tensor that is missing or misshapen is stood in for by zeros of
/// the expected shape, so that the taker can go on; [`Picker::finish`] then gives the error.
pub struct Picker<'a> {
    weights: &'a Weights,
    missing: Vec<String>,
    misshapen: Vec<(String, Vec<i64>, Vec<i64>)>,
}

impl<'a> Picker<'a> {
    pub(super) fn new(weights: &'a Weights) -> Self {
        Self {
            weights,
            missing: Vec::new(),
            misshapen: Vec::new(),
        }
    }

    /// The checkpoint taken from.
    pub fn weights(&self) -> &'a Weights {
        self.weights
    }

    /// The tensor `name`, which must have this shape; storage is shared with the checkpoint.
    pub fn take(&mut self, name: &str, shape: &[i64]) -> Tensor {
        match self.weights.tensors.get(name) {
            Some(tensor) if tensor.size() == shape => return tensor.shallow_clone(),
            Some(tensor) => self
                .misshapen
                .push((name.to_owned(), tensor.size(), shape.to_vec())),
            None => self.missing.push(name.to_owned()),
        }
        Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu))
    }

    /// Dimension `axis` of the tensor `name`, from which other sizes follow; 1 when it is missing.
    pub fn dimension(&mut self, name: &str, axis: usize) -> i64 {
        match self.weights.shape(name) {
            Some(shape) if axis < shape.len() => shape[axis].max(1),
            Some(shape) => {
                self.misshapen.push((name.to_owned(), shape, vec![-1; axis + 1]));
                1
            }
            None => {
                self.missing.push(name.to_owned());
                1
            }
        }
    }

    /// Gives `built` if every tensor was there.
    ///
    /// # Errors
    /// All missing names together; else the first tensor whose shape does not fit.
    pub fn finish<T>(mut self, built: T) -> Result<T, WeightsError> {
        let path = || self.weights.path.clone();
        if !self.missing.is_empty() {
            let path = path();
            self.missing.sort();
            self.missing.dedup();
            return Err(WeightsError::Missing {
                path,
                missing: self.missing,
            });
        }
        let others = self.misshapen.len().saturating_sub(1);
        match self.misshapen.first() {
            None => Ok(built),
            Some((tensor, found, expected)) => Err(WeightsError::Shape {
                path: path(),
                tensor: tensor.clone(),
                found: found.clone(),
                expected: expected.clone(),
                others,
            }),
        }
    }
}
