//! Reads the golden fixtures (numbers recorded from the published implementation) and compares
//! tensors with them. For tests only: every failure is a panic whose text names file and tensor.
//!
//! ```ignore
//! let golden = Fixture::load("backbone");                 // tests/fixtures/golden/backbone.safetensors
//! let images = golden.f32("image_odd");                   // upcast to f32; names the file when absent
//! let settings = golden.json();                           // backbone.json
//! let mut report = Report::new("backbone");
//! report.compare("layers", "odd.layer1", &ours, &golden.f32("odd.layer1"), Tolerance::OfMax(2e-5));
//! report.finish();                                        // prints one line per group, panics with all violations
//! ```
//!
//! Lines on stdout: `parity | fixture | group | max deviation | tolerance`, the deviation in the unit
//! of the tolerance (see [`Tolerance`]). The folder is `tests/fixtures/golden` of the repository, or
//! `ULDA_GOLDEN` when that is set. `ULDA_GOLDEN_DEVICE=cuda` puts tensors on the first GPU, and `ULDA_GOLDEN_SLACK`
//! widens tolerances there.

mod device;
mod fixture;
mod report;

pub use device::{device, slack};
pub use fixture::{Fixture, folder, path};
pub use report::{Report, Tolerance};
