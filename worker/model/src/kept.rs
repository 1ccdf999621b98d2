//! Small constant matrices of a GPU, made once: each would be a dozen launches in every step.
//!
//! They are made and read in the order of CUDA's default stream, which all threads of this process use.

use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, Tensor, no_grad};

/// Matrices that are kept at most. Evaluation has one pair for each size of an image.
const MOST: usize = 32;

/// What a resizing matrix depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatrixKey {
    pub from: i64,
    pub to: i64,
    pub kind: Kind,
    pub device: Device,
}

/// The matrices that were asked for last, oldest first.
pub struct KeptMatrices(Mutex<Vec<(MatrixKey, Tensor)>>);

impl KeptMatrices {
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The matrix of `key`, which `make` makes, outside autograd. On a CPU, where it costs little, none is kept.
    pub fn get(&self, key: MatrixKey, make: impl FnOnce() -> Tensor) -> Tensor {
        match key.device {
            Device::Cuda(_) => self.find_or_keep(key, make),
            _ => no_grad(make),
        }
    }

    fn find_or_keep(&self, key: MatrixKey, make: impl FnOnce() -> Tensor) -> Tensor {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, matrix)) = kept.iter().find(|(other, _)| *other == key) {
            return matrix.shallow_clone();
        }
        let matrix = no_grad(make);
        if kept.len() == MOST {
            drop(kept.remove(0));
        }
        kept.push((key, matrix.shallow_clone()));
        matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::kind::FLOAT_CPU;

    fn key(to: i64) -> MatrixKey {
        MatrixKey {
            from: 2,
            to,
            kind: Kind::Float,
            device: Device::Cpu,
        }
    }

    #[test]
    fn a_matrix_is_made_once_and_the_oldest_goes() {
        let kept = KeptMatrices::new();
        let most = MOST as i64;
        for to in 0..=most {
            let _ = kept.find_or_keep(key(to), || Tensor::full([1], to, FLOAT_CPU));
        }
        let again = kept.find_or_keep(key(most), || panic!("made twice"));
        assert_eq!(again.double_value(&[0]), most as f64);
        assert_eq!(kept.0.lock().unwrap().len(), MOST);
        let anew = kept.find_or_keep(key(0), || Tensor::full([1], -1.0, FLOAT_CPU));
        assert_eq!(anew.double_value(&[0]), -1.0);
    }

    #[test]
    fn a_cpu_keeps_none() {
        let kept = KeptMatrices::new();
        let _ = kept.get(key(3), || Tensor::zeros([3, 2], FLOAT_CPU));
        assert!(kept.0.lock().unwrap().is_empty());
    }
}
