//! What the coordinator starts in place of a worker when the wires are to be disturbed: asks the desk for
//! addresses, then becomes the worker (same process id) with those in its arguments.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set for the shim by the harness.
pub const DESK: &str = "ULDA_CHAOS_DESK";
/// The real worker's binary.
pub const WORKER: &str = "ULDA_CHAOS_WORKER";

/// Only returns when the worker could not be started.
///
/// # Errors
/// Arguments or environment are not what the coordinator gives, or the desk is gone.
pub fn become_worker(arguments: &[OsString]) -> anyhow::Result<std::convert::Infallible> {
    use anyhow::Context;
    let text = |name: &str| {
        let place = arguments.iter().position(|word| word == name)?;
        arguments.get(place + 1)?.to_str()
    };
    let worker = std::env::var_os(WORKER).context("no worker named")?;
    if arguments.first().is_none_or(|verb| verb != "join") {
        let failed = Command::new(&worker).args(arguments).exec();
        return Err(failed).with_context(|| format!("become `{}`", worker.display()));
    }
    let desk: SocketAddr = std::env::var(DESK)?.parse()?;
    let slot: u32 = text("--slot").context("no --slot")?.parse()?;
    let (scheme, coordinator) = text("--coordinator")
        .and_then(|address| address.split_once("://"))
        .context("no --coordinator")?;
    let coordinator: SocketAddr = coordinator.parse()?;
    let addresses = crate::desk::ask(desk, slot, coordinator).context("ask the desk")?;
    let mut words = Vec::with_capacity(arguments.len() + 2);
    let mut given = arguments.iter();
    while let Some(word) = given.next() {
        words.push(word.clone());
        let replaced = match word.to_str() {
            Some("--coordinator") => Some(format!("{scheme}://{}", addresses.coordinator)),
            Some("--data-listen") => Some(addresses.data_listen.to_string()),
            Some(_) | None => None,
        };
        if let Some(replaced) = replaced {
            given.next();
            words.push(replaced.into());
        }
    }
    words.push("--data-advertise".into());
    words.push(addresses.data_advertise.to_string().into());
    let failed = Command::new(&worker).args(words).exec();
    Err(failed).with_context(|| format!("become `{}`", worker.display()))
}
