//! L_intra: METHOD "DCRL" inside one domain ("intercor" in the published code). Golden README item 23.

use tch::{Reduction, Tensor};

use super::of_each;
use crate::error::Result;
use crate::products::{product, transposed};

/// Mean squared error between the cosine matrices of `prototypes` [G, K, E] and `texts` [G, K, E], over all K² entries
/// of a domain.
///
/// # Errors
/// When the shapes differ.
pub fn intra(prototypes: &Tensor, texts: &Tensor) -> Result<Tensor> {
    let have = product(prototypes, &transposed(prototypes)?)?;
    let want = product(texts, &transposed(texts)?)?;
    of_each(&have, |domain, have| {
        Ok(have.f_mse_loss(&want.f_get(domain as i64)?, Reduction::Mean)?)
    })
}
