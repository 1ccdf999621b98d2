//! The status page at `/`: what the journal tells of a run and, while it is served, what only its coordinator
//! knows. The server renders it; the script only swaps the parts that changed, so it also works without;
//! stopping the run needs it.

mod generations;
mod parts;
mod ranks;
mod scores;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use generations::GenerationView;

use super::live::Live;
use crate::journal::JournalReader;
use crate::report::{self, ReportData, RunReadError};
use crate::run_directory::RunDirectory;
use crate::status::{self, Status};

/// Fetches the page's parts anew when the run changed.
pub const SCRIPT: &str = include_str!("page.js");

/// Four stages, the last one dawning.
pub const ICON: &str = include_str!("icon.svg");

/// The report's style sheet and what the page adds.
#[must_use]
pub fn style() -> String {
    format!("{}{}", report::STYLE, include_str!("page.css"))
}

/// Everything the page shows.
struct View<'a> {
    status: Status,
    data: ReportData,
    generations: Vec<GenerationView>,
    live: Option<&'a Live>,
    now_millis: i64,
}

/// The page's changing part, `<main>`.
///
/// # Errors
/// The run's files cannot be read.
pub fn live_part(directory: &RunDirectory, live: Option<&Live>) -> Result<String, RunReadError> {
    let journal = JournalReader::open(&directory.journal_file())?;
    let view = View {
        status: status::gather(directory)?,
        data: report::gather(directory)?,
        generations: generations::read(&journal)?,
        live,
        now_millis: crate::journal::wall_millis(),
    };
    let phases = journal.phases()?;
    let main = html! {
        main {
            section #head { (parts::head(&view)) }
            section #stages { (parts::stages(&view)) }
            section #scores { (scores::scores(&view.data)) }
            section #ranks { (ranks::ranks(&view, &phases)) }
            section #generations { (generations::section(&view)) }
            section #styles { (report::styles(&view.data)) }
            section #curves { (report::curves(&view.data)) }
            section #examples { (parts::examples(&view)) }
            section #events { (parts::events(&view)) }
        }
    };
    Ok(main.into_string())
}

/// Sent by the script, with the token in a header; hidden where there is none.
fn stop_form() -> Markup {
    html! {
        details #stop hidden {
            summary { "Stop this run" }
            form autocomplete="off" {
                label for="token" { "The run's token, as in its " code { "credentials/token" } }
                input #token type="password" required autocomplete="off" spellcheck="false";
                button type="submit" { "Stop the run" }
            }
            p role="status" { "Workers write a checkpoint and leave; the run can be resumed." }
        }
    }
}

/// The whole page around [`live_part`]; with a button that stops the run for visitors whose token may be asked for.
#[must_use]
pub fn page(live_part: &str, stoppable: bool) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "ULDA run" }
                link rel="stylesheet" href="style.css";
                link rel="icon" href="icon.svg";
                script src="page.js" defer {}
                noscript { meta http-equiv="refresh" content="5"; }
            }
            body {
                p #contact role="status" hidden { "The coordinator does not answer; what follows is the last that was heard." }
                p #left role="status" hidden { "The coordinator has left, and this is how it left the run. " code { "coordinator view" } " shows it again." }
                (PreEscaped(live_part))
                @if stoppable { (stop_form()) }
            }
        }
    };
    page.into_string()
}
