//! Loss values on their way from the device: collected while a group is computed, waited for once.

use std::fmt;

use tch::{Device, Kind, Tensor};

use super::DomainLosses;
use crate::error::{MethodError, Result};

/// A loss term of a domain; those below scene and segmentation are of one image.
#[derive(Debug, Clone, Copy)]
pub(super) enum Term {
    Scene,
    Segmentation,
    Pixel(usize),
    Region(usize),
    Intra(usize),
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Term::Scene => "scene",
            Term::Segmentation => "segmentation",
            Term::Pixel(_) => "pixel",
            Term::Region(_) => "region",
            Term::Intra(_) => "intra",
        })
    }
}

/// Loss values of a group that were not looked at yet.
#[derive(Debug, Default)]
pub(super) struct UnreadLosses(Vec<(Term, Tensor)>);

impl UnreadLosses {
    /// Keeps the value of a term, one per domain: `[G]`.
    pub fn keep(&mut self, term: Term, losses: &Tensor) {
        self.0.push((term, losses.detach()));
    }

    /// The losses that were kept, in the order of [`UnreadLosses::named`].
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.0.iter().map(|(_, losses)| losses)
    }

    /// Gives `values`, the numbers of [`UnreadLosses::tensors`], their names. A term that was not kept is 0.
    ///
    /// # Errors
    /// When a value is not finite: the first, by domain, in the order in which the terms were kept.
    pub fn named(&self, values: &[f64], domains: &[usize], images: usize) -> Result<Vec<DomainLosses>> {
        let mut read = Vec::with_capacity(domains.len());
        for (at, domain) in domains.iter().enumerate() {
            let mut losses = DomainLosses {
                domain: *domain,
                scene: 0.0,
                seg: 0.0,
                region: vec![0.0; images],
                pixel: vec![0.0; images],
                intra: vec![0.0; images],
            };
            let own = values.iter().skip(at).step_by(domains.len());
            for ((term, _), &value) in self.0.iter().zip(own) {
                if !value.is_finite() {
                    return Err(MethodError::NotFinite {
                        value,
                        at: format!("the {term} term of domain {domain}"),
                    });
                }
                match *term {
                    Term::Scene => losses.scene = value,
                    Term::Segmentation => losses.seg = value,
                    Term::Pixel(image) => losses.pixel[image] = value,
                    Term::Region(image) => losses.region[image] = value,
                    Term::Intra(image) => losses.intra[image] = value,
                }
            }
            read.push(losses);
        }
        Ok(read)
    }
}

/// The numbers in tensors, one tensor after the other, in one wait.
pub(super) fn numbers<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Result<Vec<f64>> {
    let flat = tensors.map(|tensor| tensor.f_view([-1]));
    let flat = flat.collect::<Result<Vec<_>, _>>()?;
    // A device joins tensors of one kind in one launch, and others one by one.
    let same_kind = flat.chunk_by(|a, b| a.kind() == b.kind());
    let joined = same_kind.map(|tensors| Tensor::f_cat(tensors, 0)?.f_to_kind(Kind::Double));
    let joined = joined.collect::<Result<Vec<_>, _>>()?;
    if joined.is_empty() {
        return Ok(Vec::new());
    }
    let all = Tensor::f_cat(&joined, 0)?;
    let mut values = vec![0.0; all.numel()];
    let count = values.len();
    all.f_to_device(Device::Cpu)?.f_copy_data(&mut values, count)?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(unread: &UnreadLosses) -> Result<Vec<DomainLosses>> {
        unread.named(&numbers(unread.tensors())?, &[4, 7], 2)
    }

    #[test]
    fn values_find_their_place_and_the_first_that_is_no_number_is_named() {
        let mut unread = UnreadLosses::default();
        unread.keep(Term::Scene, &Tensor::from_slice(&[1.0f32, 2.0]));
        unread.keep(Term::Pixel(1), &Tensor::from_slice(&[3.0f32, 4.0]));
        let first = read(&unread).unwrap();
        let told: Vec<_> = first
            .iter()
            .map(|one| (one.domain, one.scene, one.pixel[1]))
            .collect();
        assert_eq!(told, [(4, 1.0, 3.0), (7, 2.0, 4.0)]);
        assert_eq!((first[0].seg, first[1].pixel[0]), (0.0, 0.0));

        unread.keep(Term::Region(0), &Tensor::from_slice(&[f32::INFINITY, 1.0]));
        unread.keep(Term::Segmentation, &Tensor::from_slice(&[f32::NAN, f32::NAN]));
        let message = read(&unread).unwrap_err().to_string();
        assert!(
            message.starts_with("the loss became inf at the region term of domain 4"),
            "{message}"
        );
    }
}
