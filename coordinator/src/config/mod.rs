//! How a run.toml, the environment and the command line become one `RunConfig`.
//!
//! Order of precedence: `--set` over `ULDA_SECTION__KEY` over the file over the published defaults. Every
//! unknown key and every value of a wrong type is told at once, with the nearest known key.

mod differ;
mod edit;
mod load;
mod nearest;
mod schema;

pub use differ::{KeyDifference, differences};
pub use edit::Edit;
pub use load::{Layers, LoadError, Origin, Problem, Problems, load};
pub use schema::Schema;

/// The commented run.toml that `coordinator init` writes.
pub const TEMPLATE: &str = include_str!("template.toml");
