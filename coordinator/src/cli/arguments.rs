//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::stages::ChosenStages;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ulda_run::ExportFormat;

use super::cluster_arguments::{ClusterVerb, SubmitArguments};
use super::compare_arguments::CompareArguments;
pub use super::shared_arguments::{ConfigArguments, OutputFormat};
use super::since::Since;
use crate::compare::ScoredModel;
use crate::config::Preset;
use crate::exit;
use crate::http::HttpAddress;
use crate::logs::LogLevel;
use crate::observe::LogFormat;

/// Trains one segmentation model for many weathers from labelled source images and a sentence per weather
/// (ULDA, CVPR 2024).
///
/// Without a verb it trains: `coordinator --workers 2 --config run.toml`.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version, after_help = exit::HELP, args_conflicts_with_subcommands = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub train: TrainArguments,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start a run (the default verb)
    Train(TrainArguments),
    /// Continue a run that was stopped or died, with any number of workers
    Resume(ResumeArguments),
    /// Write a commented run.toml with the published values
    Init(InitArguments),
    /// Print what a run.toml can hold: a JSON Schema for editors, or the reference page
    Schema(SchemaArguments),
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Write manual pages into a folder
    Manual { folder: PathBuf },
    /// Find everything that is wrong with a run before any work: configuration, data, checkpoints, disk, port
    Check(CheckArguments),
    /// Show how far a run is, and why it is where it is
    Status(StatusArguments),
    /// Serve the status page of a run that no coordinator serves: finished, stopped or interrupted
    View(ViewArguments),
    /// Show the runs in a folder
    List(ListArguments),
    /// Show which samples each committed step used, by which shard and worker, and check that none was skipped or repeated
    Ledger(LedgerArguments),
    /// Show what the workers of a run logged, by time
    Logs(LogsArguments),
    /// Ask the coordinator of a run to stop, and wait until it has left
    Stop(StopArguments),
    /// Build the report of a run anew
    Report(ReportArguments),
    /// Show the scores of finished runs side by side: methods, each over several seeds
    Compare(CompareArguments),
    /// Write TensorBoard event files of a run from its journal
    ExportTensorboard(ExportTensorBoardArguments),
    /// Segment images, folders of images or videos: palette PNG, label-id PNG and overlay for each
    Predict(PredictArguments),
    /// Write a run's model or styles in a format of other programs
    Export(ExportArguments),
    /// Run on Kubernetes: create what a run needs there, and follow it to its end
    Submit(Box<SubmitArguments>),
    /// List, follow, stop, resume and delete runs on Kubernetes
    #[command(subcommand)]
    Cluster(ClusterVerb),
    /// Make the token and the certificates that coordinator and workers of a run recognise each other by
    #[command(subcommand)]
    Credentials(CredentialsCommand),
}

#[derive(Debug, Subcommand)]
pub enum CredentialsCommand {
    /// Make a credentials folder beforehand, for workers on other hosts; a run makes its own otherwise
    New(NewCredentialsArguments),
}

#[derive(Clone, Debug, Args)]
pub struct NewCredentialsArguments {
    /// Folder to make; readable by this user only
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Name or address that workers dial the coordinator by, besides this host's loopback; can be repeated
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
}

/// When the data plane is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum DataTls {
    #[default]
    Auto,
    Always,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// Which stages a new run goes through, and whose results it starts from.
#[derive(Clone, Debug, Args)]
pub struct StagesArguments {
    /// Go through these stages only, such as `adapt` or `simulate,adapt`, and evaluate; `evaluate` trains nothing. What the others
    /// would have made must be given: by --from, or by pretrain.checkpoint, simulate.bank and adapt.checkpoint
    #[arg(long, value_name = "STAGES")]
    pub stages: Option<ChosenStages>,
    /// Start from what this finished run left of the stages before them: source-only model, style bank, adapted model
    #[arg(long, value_name = "RUN", requires = "stages")]
    pub from: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct ServeArguments {
    /// Address of the control plane; port 0 is any free one
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:0",
        env = "ULDA_LISTEN"
    )]
    pub listen: SocketAddr,
    /// Address of the status page and the metrics; `auto` is port 9464 of this host or any free one, `off` is none
    #[arg(long, value_name = "HOST:PORT", default_value = "auto", env = "ULDA_HTTP")]
    pub http: HttpAddress,
    /// The worker's binary [default: `worker` beside this one]
    #[arg(long, value_name = "FILE", env = "ULDA_WORKER")]
    pub worker_binary: Option<PathBuf>,
    /// Start no workers; they come from elsewhere, to the address that is printed
    #[arg(long)]
    pub no_launch: bool,
    /// Write TensorBoard event files into the run's directory
    #[arg(
        long,
        value_name = "on|off",
        default_value = "on",
        env = "ULDA_TENSORBOARD",
        hide_possible_values = true
    )]
    pub tensorboard: Switch,
    /// Folder with the run's token and certificates [default: `credentials` in the run's directory, made with it]
    #[arg(long, value_name = "DIR", env = "ULDA_CREDENTIALS")]
    pub credentials: Option<PathBuf>,
    /// Whether workers encrypt what they tell each other; `auto` is whenever --listen is not on loopback
    #[arg(long, value_name = "WHEN", default_value = "auto", env = "ULDA_DATA_TLS")]
    pub data_tls: DataTls,
    /// Speak with workers without TLS; only with --listen on loopback
    #[arg(long)]
    pub insecure_loopback: bool,
    /// What is written on stderr
    #[arg(long, value_name = "FORMAT", default_value = "auto", env = "ULDA_LOG_FORMAT")]
    pub log: LogFormat,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    let number = number.filter(|number| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "it is no number above 0".to_owned())
}

#[derive(Clone, Debug, Args)]
pub struct TrainArguments {
    /// Worker processes
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        default_value_t = 1,
        env = "ULDA_WORKERS"
    )]
    pub workers: u32,
    #[command(flatten)]
    pub config: ConfigArguments,
    #[command(flatten)]
    pub stages: StagesArguments,
    #[command(flatten)]
    pub serve: ServeArguments,
    /// Continue the run if its directory holds it already
    #[arg(long)]
    pub resume: bool,
    /// Check the run and show the steps, time, memory and disk of each stage; start nothing
    #[arg(long, conflicts_with_all = ["resume", "supervised"])]
    pub dry_run: bool,
    /// Arithmetic that one worker sustains, which the times of --dry-run stand on [default: as runs beside it took]
    #[arg(long, value_name = "GFLOP/S", requires = "dry_run", value_parser = positive)]
    pub gflops: Option<f64>,
    #[command(flatten)]
    pub supervised: SupervisedArguments,
}

/// For whoever keeps one coordinator of a run running, such as Kubernetes.
#[derive(Clone, Debug, Args)]
pub struct SupervisedArguments {
    /// SIGTERM leaves the run to the coordinator that is started next; after the run's end, go on serving its page
    #[arg(long, requires = "no_launch", requires = "resume")]
    pub supervised: bool,
    /// Name of this try: a run that failed is tried again only under a new one
    #[arg(long, value_name = "NAME", requires = "supervised", env = "ULDA_ATTEMPT")]
    pub attempt: Option<String>,
    /// Folder for journals and locks, where run.directory is a network file system [default: the run's directory]
    #[arg(long, value_name = "DIR", env = "ULDA_STATE")]
    pub state: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct ResumeArguments {
    /// The run's directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Worker processes [default: as many as last time]
    #[arg(long, short = 'n', value_name = "N", env = "ULDA_WORKERS")]
    pub workers: Option<u32>,
    #[command(flatten)]
    pub serve: ServeArguments,
}

#[derive(Clone, Debug, Args)]
pub struct InitArguments {
    /// Where to write; `-` for standard output
    #[arg(value_name = "PATH", default_value = "run.toml")]
    pub path: PathBuf,
    /// Fill in a published run; its paths are yours to change
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// Overwrite a file that is there
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct SchemaArguments {
    /// json: JSON Schema, draft 7; markdown: docs/configuration.md
    #[arg(long, value_enum, default_value_t)]
    pub format: SchemaFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum SchemaFormat {
    #[default]
    Json,
    Markdown,
}

#[derive(Clone, Debug, Args)]
pub struct CheckArguments {
    /// Worker processes the run is meant for
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        default_value_t = 1,
        env = "ULDA_WORKERS"
    )]
    pub workers: u32,
    #[command(flatten)]
    pub config: ConfigArguments,
    #[command(flatten)]
    pub stages: StagesArguments,
    #[command(flatten)]
    pub serve: ServeArguments,
    /// Decode every image and label instead of their headers only
    #[arg(long)]
    pub pixels: bool,
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

#[derive(Clone, Debug, Args)]
pub struct StatusArguments {
    /// The run's directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

#[derive(Clone, Debug, Args)]
pub struct ViewArguments {
    /// The run's directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Address of the status page; `auto` is port 9464 of this host or any free one
    #[arg(long, value_name = "HOST:PORT", default_value = "auto", env = "ULDA_HTTP")]
    pub http: HttpAddress,
}

#[derive(Clone, Debug, Args)]
pub struct ListArguments {
    /// Folder that holds run directories
    #[arg(value_name = "FOLDER", default_value = "runs")]
    pub folder: PathBuf,
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

#[derive(Clone, Debug, Args)]
pub struct LedgerArguments {
    /// The run's directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Only steps of this stage: pretrain, simulate, adapt or evaluate
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<ulda_run::stage::Stage>,
    /// A table for people, or one JSON object per step
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

#[derive(Clone, Debug, Args)]
pub struct LogsArguments {
    /// The run's directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Only the worker in this slot
    #[arg(long, short, value_name = "SLOT")]
    pub worker: Option<u32>,
    /// Go on with what is written from now on, until the run is over
    #[arg(long, short)]
    pub follow: bool,
    /// Only lines that are younger than 90s, 10m, 2h or 1d, or than a time such as 2026-11-26T19:24:00Z
    #[arg(long, value_name = "AGE|TIME")]
    pub since: Option<Since>,
    /// Only lines of this level and louder ones
    #[arg(long, short, value_name = "LEVEL")]
    pub level: Option<LogLevel>,
    /// Lines for people, or the JSON as it was written
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub output: OutputFormat,
}

#[derive(Clone, Debug, Args)]
pub struct StopArguments {
    /// The run's directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Longest wait for the coordinator to leave, seconds [default: the run's drain deadline and 30 more]
    #[arg(long, value_name = "SECONDS")]
    pub wait: Option<f64>,
}

#[derive(Clone, Debug, Args)]
pub struct ReportArguments {
    /// The run's directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct ExportTensorBoardArguments {
    /// The run's directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Folder for the event files [default: `tensorboard` in the run's directory, if it holds none]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct PredictArguments {
    /// Use the adapted model of this run
    #[arg(
        long,
        value_name = "RUN",
        required_unless_present = "model",
        conflicts_with = "model"
    )]
    pub run: Option<PathBuf>,
    /// Use this model, with `backbone.*` and `classifier.*`
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Folder for the predictions
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Resize the shorter side to so many pixels and predict the square in the middle [default: the whole image]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(32..=16384))]
    pub crop: Option<u32>,
    /// The worker's binary [default: `worker` beside this one]
    #[arg(long, value_name = "FILE", env = "ULDA_WORKER")]
    pub worker_binary: Option<PathBuf>,
    /// Write the probability of each pixel's class as well, as grey pictures
    #[arg(long)]
    pub confidence: bool,
    /// Write the overlays of each video as a video as well, in mp4
    #[arg(long)]
    pub overlay_video: bool,
    /// Images, folders of images, or videos, which need ffmpeg
    #[arg(value_name = "INPUT", required = true)]
    pub inputs: Vec<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct ExportArguments {
    /// The run's directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// pth: model for the authors' scripts; pickle-styles: style bank for them; onnx, torchscript: model for other runtimes
    #[arg(long, value_name = "FORMAT")]
    pub format: ExportFormat,
    /// Which model [default: adapted, or source-only in a run that ends before adapt]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<ScoredModel>,
    /// File to write, or folder for styles [default: below `export` in the run's directory]
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// The worker's binary [default: `worker` beside this one]
    #[arg(long, value_name = "FILE", env = "ULDA_WORKER")]
    pub worker_binary: Option<PathBuf>,
}
