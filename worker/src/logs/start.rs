//! Logs on stderr: lines for a person at a terminal, JSON for everything else. JSON into the outbox as well.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::outbox::Outbox;
use super::panics::log_panics;

/// The outbox of this process.
pub fn outbox() -> &'static Outbox {
    static OUTBOX: OnceLock<Outbox> = OnceLock::new();
    OUTBOX.get_or_init(Outbox::default)
}

/// Starts logging for this process; `RUST_LOG` is the filter.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::registry().with(filter);
    if io::stderr().is_terminal() {
        let seen = tracing_subscriber::fmt::layer().compact().with_target(false);
        let seen = seen.with_writer(io::stderr);
        lines.with(seen).with(json(ToOutbox::Alone)).init();
    } else {
        lines.with(json(ToOutbox::WithStderr)).init();
    }
    log_panics();
}

/// One JSON object per event.
fn json<S>(to: ToOutbox) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        // A log on a full disk loses lines; to tell of that on the same stderr would end the thread that logs.
        .log_internal_errors(false);
    layer.with_writer(to)
}

/// Makes a line of what one event writes.
#[derive(Clone, Copy, Debug)]
enum ToOutbox {
    Alone,
    WithStderr,
}

struct OneLine {
    to: ToOutbox,
    bytes: Vec<u8>,
}

impl<'a> MakeWriter<'a> for ToOutbox {
    type Writer = OneLine;

    fn make_writer(&'a self) -> OneLine {
        OneLine {
            to: *self,
            bytes: Vec::new(),
        }
    }
}

impl Write for OneLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for OneLine {
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        if matches!(self.to, ToOutbox::WithStderr) {
            // A closed stderr has nobody to complain to.
            let _ = io::stderr().write_all(&self.bytes);
        }
        outbox().put(String::from_utf8_lossy(&self.bytes).trim_end());
    }
}
