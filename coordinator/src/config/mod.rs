//! How a run.toml, the environment and the command line become one `RunConfig`.
//!
//! Order of precedence: `--set` over `ULDA_SECTION__KEY` over the file over those that it extends over the published
//! defaults. Every unknown key and every value of a wrong type is told at once, with the nearest known key.

mod differ;
mod edit;
mod error;
mod files;
mod keys;
mod load;
mod nearest;
mod pages;
mod places;
mod presets;
mod problem;

pub use differ::{KeyDifference, differences};
pub use edit::Edit;
pub use error::LoadError;
pub use load::{Layers, LoadedConfig, load};
pub use pages::{commented_run_toml, file_schema, reference_page};
pub use places::{KeyPlace, KeyPlaces};
pub use presets::Preset;
pub use problem::{Origin, Problem, Problems};
