//! L_cross: METHOD "DCRL" over all domains of an image together ("domain_cor" in the published code). Golden README
//! item 22.
//!
//! The term couples the domains. So that a domain's numbers do not depend on which other domains its worker holds, it
//! is computed from every domain's *detached* prototypes, the same way everywhere, and its gradient with respect to a
//! domain's own prototypes is handed back to be injected into that domain's backward pass.

use tch::{Kind, Tensor};

use crate::error::{Result, expect_shape};

/// The cosine matrix of one image's texts over all domains: what the prototypes' matrix should be.
#[derive(Debug)]
pub struct CrossTarget {
    /// [D·K, D·K], domain-major.
    gram: Tensor,
    classes: i64,
}

/// Value and gradient of L_cross for one image.
#[derive(Debug)]
pub struct CrossTerm {
    /// Mean squared error over all (D·K)² entries, float64; where the prototypes are, not waited for.
    pub value: Tensor,
    /// ∂L/∂prototypes [D, K, E]; row d belongs to domain d.
    pub gradient: Tensor,
}

impl CrossTarget {
    /// From the texts [D, K, E] (unit rows) of the classes present.
    ///
    /// # Errors
    /// When `texts` is not three-dimensional.
    pub fn new(texts: &Tensor) -> Result<CrossTarget> {
        let (_, classes, _) = texts.size3()?;
        let rows = texts.f_flatten(0, 1)?;
        Ok(CrossTarget {
            gram: rows.f_matmul(&rows.f_tr()?)?,
            classes,
        })
    }

    /// Compares the `prototypes` [D, K, E] of all domains, in domain order.
    ///
    /// With G = P·Pᵀ and T the texts' matrix, both symmetric, the value is ‖G − T‖²/(DK)² and its gradient
    /// 4/(DK)² · (G − T)·P.
    ///
    /// # Errors
    /// When the number of rows differs from the texts'.
    pub fn compare(&self, prototypes: &Tensor) -> Result<CrossTerm> {
        let size = self.gram.size()[0];
        expect_shape(
            "prototypes of all domains",
            prototypes,
            &[size / self.classes.max(1), self.classes, -1],
        )?;
        let rows = prototypes.detach().f_flatten(0, 1)?;
        let difference = rows.f_matmul(&rows.f_tr()?)?.f_sub(&self.gram)?;
        let entries = (size * size) as f64;
        let value = difference
            .f_square()?
            .f_sum(Kind::Double)?
            .f_div_scalar(entries)?;
        let gradient = difference
            .f_matmul(&rows)?
            .f_mul_scalar(4.0 / entries)?
            .f_view_as(prototypes)?;
        Ok(CrossTerm { value, gradient })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::region::unit_rows;
    use tch::{Device, Kind};

    fn random_unit(domains: i64, classes: i64, seed: i64) -> Tensor {
        tch::manual_seed(seed);
        let rows = Tensor::randn([domains * classes, 12], (Kind::Double, Device::Cpu));
        unit_rows(&rows).unwrap().view([domains, classes, 12])
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let target = CrossTarget::new(&random_unit(3, 4, 1)).unwrap();
        let prototypes = random_unit(3, 4, 2);
        let gradient = target.compare(&prototypes).unwrap().gradient;
        let step = 1e-6;
        let mut worst = 0.0f64;
        for d in 0..3 {
            for k in 0..4 {
                for e in 0..12 {
                    let moved = |by: f64| {
                        let copy = prototypes.copy();
                        let _ = copy.get(d).get(k).get(e).g_add_scalar_(by);
                        target.compare(&copy).unwrap().value.double_value(&[])
                    };
                    let numeric = (moved(step) - moved(-step)) / (2.0 * step);
                    worst = worst.max((numeric - gradient.double_value(&[d, k, e])).abs());
                }
            }
        }
        assert!(worst < 1e-9, "{worst}");
    }

    #[test]
    fn equal_matrices_cost_nothing() {
        let texts = random_unit(2, 3, 4);
        let term = CrossTarget::new(&texts).unwrap().compare(&texts).unwrap();
        assert_eq!(term.value.double_value(&[]), 0.0);
        assert_eq!(term.gradient.abs().max().double_value(&[]), 0.0);
    }
}
