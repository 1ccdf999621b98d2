//! `coordinator logs`.

use std::time::Duration;

use super::arguments::{LogsArguments, OutputFormat};
use super::common::{block_on, print, run_directory, say};
use super::since::Since;
use crate::exit::{Exit, Stop};
use crate::logs::{LogLine, LogReader, Selection};
use crate::run_directory::RunDirectory;

/// Between two looks at files that are followed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub fn logs(arguments: &LogsArguments) -> Result<Exit, Stop> {
    let directory = run_directory(&arguments.run)?;
    let selection = Selection {
        slot: arguments.worker,
        since: arguments.since.as_ref().map(Since::time),
        level: arguments.level,
    };
    let mut reader = LogReader::new(&directory.logs(), selection);
    if !arguments.follow {
        let lines = reader.read()?;
        if lines.is_empty() {
            say(format_args!("{}", nothing(&reader.slots()?)));
        }
        show(&lines, arguments.output)?;
        return Ok(Exit::Done);
    }
    block_on(follow(&mut reader, &directory, arguments.output))?
}

/// Why nothing is shown, as far as it can be told.
fn nothing(slots: &[u32]) -> String {
    match slots {
        [] => "no worker of this run has logged anything".to_owned(),
        slots => {
            let slots: Vec<String> = slots.iter().map(u32::to_string).collect();
            format!(
                "no such lines; workers that logged are in slot {}",
                slots.join(", ")
            )
        }
    }
}

/// Shows what is written from now on too, until nobody serves the run any more.
async fn follow(
    reader: &mut LogReader,
    directory: &RunDirectory,
    output: OutputFormat,
) -> Result<Exit, Stop> {
    loop {
        let served = directory.server().is_some();
        let lines = reader.read()?;
        show(&lines, output)?;
        if !served && lines.is_empty() {
            return Ok(Exit::Done);
        }
        tokio::select! {
            biased;
            interrupted = tokio::signal::ctrl_c() => return interrupted.map(|()| Exit::Interrupted).map_err(Stop::from),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn show(lines: &[LogLine], output: OutputFormat) -> Result<(), Stop> {
    let text: String = lines
        .iter()
        .map(|line| match output {
            OutputFormat::Table => format!("{line}\n"),
            OutputFormat::Json => format!("{}\n", line.text),
        })
        .collect();
    print(&text)
}
