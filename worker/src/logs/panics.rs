//! Panics as log lines, so that they reach whoever collects lines.

use std::panic::{PanicHookInfo, set_hook};

/// From now on a panic is logged as an error; its thread's spans say where.
pub fn log_panics() {
    set_hook(Box::new(|info| tracing::error!("{}", told(info))));
}

fn told(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("?");
    let place = info
        .location()
        .map_or_else(String::new, |place| format!(" at {place}"));
    let message = info.payload_as_str().unwrap_or("no message");
    format!("thread `{name}` panicked{place}: {message}")
}
