//! The command line. Each verb is a module; this one only says what there is.

mod arguments;
mod check;
mod common;
mod export_tensorboard;
mod init;
mod ledger;
mod list;
mod logs;
mod predict;
mod report;
mod status;
mod stop;
mod train;
mod view;

pub use arguments::{Cli, Verb};

use crate::exit::{Exit, Stop};

/// Carries out a parsed command line.
///
/// # Errors
/// The cause, with the exit code that belongs to it.
pub fn run(cli: Cli) -> Result<Exit, Stop> {
    match cli.verb {
        None => train::train(&cli.train),
        Some(Verb::Train(arguments)) => train::train(&arguments),
        Some(Verb::Resume(arguments)) => train::resume(&arguments),
        Some(Verb::Init(arguments)) => init::init(&arguments),
        Some(Verb::Check(arguments)) => check::check(&arguments),
        Some(Verb::Status(arguments)) => status::status(&arguments),
        Some(Verb::View(arguments)) => view::view(&arguments),
        Some(Verb::List(arguments)) => list::list(&arguments),
        Some(Verb::Ledger(arguments)) => ledger::ledger(&arguments),
        Some(Verb::Logs(arguments)) => logs::logs(&arguments),
        Some(Verb::Stop(arguments)) => stop::stop(&arguments),
        Some(Verb::Report(arguments)) => report::report(&arguments),
        Some(Verb::ExportTensorboard(arguments)) => export_tensorboard::export_tensorboard(&arguments),
        Some(Verb::Predict(arguments)) => predict::predict(&arguments),
    }
}
