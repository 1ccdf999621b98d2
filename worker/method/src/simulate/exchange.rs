//! What a round asks of the other workers: the prototypes of the domains they hold, and the mean of a projector's
//! gradient over the data shards. The transport is the caller's.

use tch::Tensor;

use crate::error::Result;

/// Class prototypes of one image for one domain.
#[derive(Debug)]
pub struct Prototype {
    pub domain: usize,
    /// Position of the image in the batch.
    pub image: usize,
    /// [K, E], unit rows, detached; K is the number of classes in the image.
    pub rows: Tensor,
}

/// Gathers the prototypes of all domains of one batch.
pub trait PrototypeExchange {
    /// The prototypes of *every* domain and image of the batch, in any order; bits as their owners gave them.
    ///
    /// Called once per iteration by every holder of the batch, each with the prototypes of its own domains.
    ///
    /// # Errors
    /// When a holder did not answer in time or the collective is broken.
    fn gather(&self, iteration: usize, mine: Vec<Prototype>) -> Result<Vec<Prototype>>;
}

/// Reduces the projectors' gradients over the data shards.
pub trait ProjectorReduce {
    /// Replaces each flat gradient `[len]` of a (domain, gradient) pair by its sum over the data shards, in shard
    /// order, divided by their number.
    ///
    /// # Errors
    /// When a shard did not answer in time or the collective is broken.
    fn reduce(&self, iteration: usize, gradients: &mut [(usize, Tensor)]) -> Result<()>;
}

/// All domains are here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

impl PrototypeExchange for Local {
    fn gather(&self, _iteration: usize, mine: Vec<Prototype>) -> Result<Vec<Prototype>> {
        Ok(mine)
    }
}

/// There is one data shard.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl ProjectorReduce for Alone {
    fn reduce(&self, _iteration: usize, _gradients: &mut [(usize, Tensor)]) -> Result<()> {
        Ok(())
    }
}
