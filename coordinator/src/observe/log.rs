//! Where log lines go.

use std::io::{self, Write};

use clap::ValueEnum;
use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What the output on stderr looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Bars on a terminal, JSON lines otherwise.
    #[default]
    Auto,
    Bars,
    Json,
}

impl LogFormat {
    /// Whether this is for a person, given whether stderr is a terminal.
    #[must_use]
    pub fn is_for_people(self, terminal: bool) -> bool {
        match self {
            Self::Auto => terminal,
            Self::Bars => true,
            Self::Json => false,
        }
    }
}

/// Where log lines go so that they do not tear progress bars.
#[derive(Clone, Debug)]
pub enum LogTarget {
    /// JSON lines.
    Json,
    /// Text above the bars.
    Above(MultiProgress),
    /// Warnings of a command that answers and ends.
    Plain,
}

/// Starts logging for this process. `ULDA_LOG` sets the filter. A second call changes nothing.
///
/// A stderr on a full disk loses lines; to tell of that on the same stderr would end whoever logs.
pub fn start_logging(target: LogTarget) {
    let filter =
        |default: &str| EnvFilter::try_from_env("ULDA_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // An error means that logging was started already, as tests do.
    let _ = match target {
        LogTarget::Json => tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_env_filter(filter("info"))
            .with_writer(io::stderr)
            .log_internal_errors(false)
            .try_init(),
        LogTarget::Above(bars) => tracing_subscriber::fmt()
            .with_target(false)
            .with_ansi(console::colors_enabled_stderr())
            .with_env_filter(filter("warn"))
            .with_writer(AboveBars(bars))
            .log_internal_errors(false)
            .try_init(),
        LogTarget::Plain => tracing_subscriber::fmt()
            .without_time()
            .with_target(false)
            .with_ansi(console::colors_enabled_stderr())
            .with_env_filter(filter("warn"))
            .with_writer(io::stderr)
            .log_internal_errors(false)
            .try_init(),
    };
}

#[derive(Clone, Debug)]
struct AboveBars(MultiProgress);

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
