//! Signals that end a coordinator.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::drive::RunError;

/// Who asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    /// SIGTERM, or the terminal went away.
    Terminate,
    /// Somebody with the run's token asked on the status page.
    Asked,
}

/// Ends a run from within its coordinator.
#[derive(Clone, Debug)]
pub struct StopHandle(mpsc::Sender<Signal>);

/// Where a run hears that it is to end.
#[derive(Debug)]
pub struct StopSignals {
    sender: mpsc::Sender<Signal>,
    pub(super) received: mpsc::Receiver<Signal>,
}

impl StopHandle {
    #[must_use]
    pub fn new() -> (Self, StopSignals) {
        let (sender, received) = mpsc::channel(4);
        (Self(sender.clone()), StopSignals { sender, received })
    }

    /// Asks for the end; a run that ends already needs no other word.
    pub fn stop(&self) {
        let _ = self.0.try_send(Signal::Asked);
    }
}

impl Signal {
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupted",
            Self::Terminate => "asked to terminate",
            Self::Asked => "asked to stop on the status page",
        }
    }
}

/// Lets every signal that ends a coordinator be received.
///
/// # Errors
/// A handler cannot be installed.
pub(super) fn listen(stop: &StopSignals) -> Result<(), RunError> {
    let mut kinds = vec![
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::terminate(), Signal::Terminate),
    ];
    if !hangup_is_ignored() {
        kinds.push((SignalKind::hangup(), Signal::Terminate));
    }
    for (kind, what) in kinds {
        let mut stream = signal(kind).map_err(|source| RunError::Signals { source })?;
        let signals = stop.sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if signals.send(what).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// Whether this process was started to outlive its terminal (`nohup`).
fn hangup_is_ignored() -> bool {
    // SAFETY: sigaction is plain data for which all zeroes is a valid value.
    let mut present: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action this only writes the present one into `present`.
    let read = unsafe { libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut present) };
    read == 0 && present.sa_sigaction == libc::SIG_IGN
}
