//! Matrix products of several domains in one operation each: the domain comes first in every tensor, G of them.
//!
//! Of one domain alone these are libtorch's plain products. A batch of one may add up in another order, and a domain
//! that is computed by itself shall have the same bits whatever else can be done at once.

use tch::{Kind, Tensor};

use crate::error::Result;

/// [G, m, k] · [G, k, n] → [G, m, n].
pub(crate) fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match several(a) {
        true => Ok(a.f_bmm(b)?),
        false => back(&only(a)?.f_mm(&only(b)?)?),
    }
}

/// `offset` + [G, m, k] · [G, k, n], the offset being [G, 1 or m, 1 or n].
pub(crate) fn product_plus(offset: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match several(a) {
        true => Ok(offset.f_baddbmm(a, b, 1.0, 1.0)?),
        false => back(&only(offset)?.f_addmm(&only(a)?, &only(b)?)?),
    }
}

/// [G, m, k] · [G, k] → [G, m].
pub(crate) fn product_vector(a: &Tensor, vector: &Tensor) -> Result<Tensor> {
    match several(a) {
        true => Ok(a.f_bmm(&vector.f_unsqueeze(2)?)?.f_squeeze_dim(2)?),
        false => back(&only(a)?.f_mv(&only(vector)?)?),
    }
}

/// Squared length of vectors [G, k] → `[G]`.
pub(crate) fn squared_length(vector: &Tensor) -> Result<Tensor> {
    match several(vector) {
        true => Ok(vector
            .f_square()?
            .f_sum_dim_intlist([1i64].as_slice(), false, None::<Kind>)?),
        false => back(&only(vector)?.f_dot(&only(vector)?)?),
    }
}

/// Swaps rows and columns: [G, m, n] → [G, n, m].
pub(crate) fn transposed(a: &Tensor) -> Result<Tensor> {
    Ok(a.f_transpose(1, 2)?)
}

fn several(a: &Tensor) -> bool {
    a.size()[0] != 1
}

fn only(a: &Tensor) -> Result<Tensor> {
    Ok(a.f_squeeze_dim(0)?)
}

fn back(a: &Tensor) -> Result<Tensor> {
    Ok(a.f_unsqueeze(0)?)
}
