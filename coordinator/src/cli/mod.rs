//! The command line. Each verb is a module; this one only says what there is.

mod arguments;
mod check;
mod cluster;
mod cluster_arguments;
mod common;
mod compare;
mod compare_arguments;
mod conclusion;
mod credentials;
mod dry_run;
mod export;
mod export_tensorboard;
mod finished;
mod follow_view;
mod init;
mod ledger;
mod list;
mod logs;
mod manual;
mod predict;
mod report;
mod schema;
mod security;
mod serve;
mod shared_arguments;
mod since;
mod stages;
mod status;
mod stop;
mod submission;
mod submit;
mod supervised;
mod train;
mod view;

pub use arguments::{Cli, Verb};
pub use common::say;

use crate::exit::{Exit, Stop};
use crate::observe::{LogTarget, start_logging};

/// Carries out a parsed command line.
///
/// # Errors
/// The cause, with the exit code that belongs to it.
pub fn run(cli: Cli) -> Result<Exit, Stop> {
    if cli.verb.as_ref().is_some_and(reads_a_journal) {
        start_logging(LogTarget::Plain);
    }
    // Workers that are started here inherit it.
    if let Err(cause) = ulda_net::raise_descriptor_limit() {
        say(format_args!(
            "warning: the limit of open files stays as it is: {cause}"
        ));
    }
    match cli.verb {
        None => train::train(&cli.train),
        Some(Verb::Train(arguments)) => train::train(&arguments),
        Some(Verb::Resume(arguments)) => train::resume(&arguments),
        Some(Verb::Init(arguments)) => init::init(&arguments),
        Some(Verb::Schema(arguments)) => schema::schema(&arguments),
        Some(Verb::Completions { shell }) => manual::completions(shell),
        Some(Verb::Manual { folder }) => manual::manual(&folder),
        Some(Verb::Check(arguments)) => check::check(&arguments),
        Some(Verb::Status(arguments)) => status::status(&arguments),
        Some(Verb::View(arguments)) => view::view(&arguments),
        Some(Verb::List(arguments)) => list::list(&arguments),
        Some(Verb::Ledger(arguments)) => ledger::ledger(&arguments),
        Some(Verb::Logs(arguments)) => logs::logs(&arguments),
        Some(Verb::Stop(arguments)) => stop::stop(&arguments),
        Some(Verb::Report(arguments)) => report::report(&arguments),
        Some(Verb::Compare(arguments)) => compare::compare(&arguments),
        Some(Verb::ExportTensorboard(arguments)) => export_tensorboard::export_tensorboard(&arguments),
        Some(Verb::Predict(arguments)) => predict::predict(&arguments),
        Some(Verb::Export(arguments)) => export::export(&arguments),
        Some(Verb::Credentials(command)) => credentials::credentials(&command),
        Some(Verb::Submit(arguments)) => submit::submit(&arguments),
        Some(Verb::Cluster(verb)) => cluster::cluster(&verb),
    }
}

/// Such a command says which rows of the journal it leaves out.
fn reads_a_journal(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Status(_)
            | Verb::View(_)
            | Verb::List(_)
            | Verb::Ledger(_)
            | Verb::Report(_)
            | Verb::Compare(_)
            | Verb::ExportTensorboard(_)
    )
}
