//! The cost model of `docs/cost-model.md`: what a step of each stage computes and sends, and the images per second that
//! follow for 1 to 256 GPUs.
//!
//! Pure except for its edges: `sizes` asks the networks for their shapes, `measured` reads JSON lines, `page` and `plot`
//! write files. Nothing here is timed; what was measured elsewhere comes in as a constant or a point.

mod constants;
mod hosts;
mod measured;
mod model;
mod network;
mod page;
mod plot;
mod sizes;
mod table;

use std::path::PathBuf;

use clap::Args;

use crate::Failure;

#[derive(Args)]
pub struct Options {
    /// Draw the plot into this file
    #[arg(long)]
    svg: Option<PathBuf>,
    /// More measured points, one JSON object a line
    #[arg(long)]
    measured: Option<PathBuf>,
    /// Replace the tables of this page instead of printing them
    #[arg(long)]
    page: Option<PathBuf>,
}

/// Prints the tables (or puts them into a page), and draws the plot if asked to.
///
/// # Errors
/// When a file cannot be read or written, or a measured point makes no sense.
pub fn run(options: &Options) -> Result<(), Failure> {
    let sizes = sizes::Sizes::read()?;
    let points = measured::with_file(options.measured.as_deref())?;
    let tables = table::all(&sizes, &points);
    match &options.page {
        Some(path) => page::replace_tables(path, &tables)?,
        None => print!("{tables}"),
    }
    if let Some(path) = &options.svg {
        std::fs::write(path, plot::draw(&sizes, &points)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a change: `bench cost --page docs/cost-model.md --svg docs/cost-model.svg`.
    #[test]
    fn the_page_and_the_plot_are_what_the_program_makes() {
        let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let read = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap();
        let sizes = sizes::Sizes::read().unwrap();
        let points = measured::with_file(None).unwrap();
        assert!(read("cost-model.md").contains(&table::all(&sizes, &points)));
        assert!(read("cost-model.svg") == plot::draw(&sizes, &points).unwrap());
    }
}
