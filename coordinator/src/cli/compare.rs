//! `coordinator compare`.

use std::path::Path;

use super::common::{print, run_directory, say};
use super::compare_arguments::{CompareArguments, ComparisonFormat, RunsArgument};
use crate::compare::{
    CompareChoices, ComparedRun, Comparison, NamedRuns, SeedRows, csv, html, methods, text,
};
use crate::exit::{Exit, Stop};
use crate::run_directory::write_whole;

pub fn compare(arguments: &CompareArguments) -> Result<Exit, Stop> {
    let named = arguments.runs.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let choices = CompareChoices {
        model: arguments.model,
        reference: arguments.reference.clone(),
        sets: arguments.sets.clone(),
    };
    let comparison = methods(named)
        .and_then(|methods| Comparison::of(&methods, &choices))
        .map_err(Stop::bad_input)?;
    for warning in &comparison.warnings {
        say(format_args!("warning: {warning}"));
    }
    let shown = match arguments.format {
        ComparisonFormat::Text if arguments.per_seed => text(&comparison, SeedRows::Shown),
        ComparisonFormat::Text => text(&comparison, SeedRows::Hidden),
        ComparisonFormat::Csv => csv(&comparison)?,
        ComparisonFormat::Html => html(&comparison),
    };
    match &arguments.out {
        None => print(&shown)?,
        Some(path) => {
            write_whole(path, shown.as_bytes())?;
            say(format_args!("wrote {}", path.display()));
        }
    }
    Ok(Exit::Done)
}

fn read(argument: &RunsArgument) -> Result<NamedRuns, Stop> {
    let read = |path: &Path| -> Result<ComparedRun, Stop> {
        let directory = run_directory(path)?;
        ComparedRun::read(&directory, path).map_err(Stop::bad_input)
    };
    Ok(NamedRuns {
        label: argument.label.clone(),
        model: argument.model,
        runs: argument
            .runs
            .iter()
            .map(|path| read(path))
            .collect::<Result<_, _>>()?,
    })
}
