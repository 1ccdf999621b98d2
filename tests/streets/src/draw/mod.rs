//! The things of a street, each drawn with patches.

pub mod barrier;
pub mod building;
pub mod cycle;
pub mod ego;
pub mod figure;
pub mod furniture;
pub mod plant;
pub mod road;
pub mod truck;
pub mod vehicle;
