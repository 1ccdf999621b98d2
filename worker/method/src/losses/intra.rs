//! L_intra: METHOD "DCRL" inside one domain ("intercor" in the published code). Golden README item 23.

use tch::{Reduction, Tensor};

use crate::error::Result;

/// Mean squared error between the cosine matrices of `prototypes` [K, E] and `texts` [K, E], over all K² entries.
///
/// # Errors
/// When the shapes differ.
pub fn intra(prototypes: &Tensor, texts: &Tensor) -> Result<Tensor> {
    let have = prototypes.f_matmul(&prototypes.f_tr()?)?;
    let want = texts.f_matmul(&texts.f_tr()?)?;
    Ok(have.f_mse_loss(&want, Reduction::Mean)?)
}
