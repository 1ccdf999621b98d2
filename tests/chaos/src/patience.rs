//! The only place of the harness that sleeps: waits for a condition, with a name and a deadline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::ChaosError;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Somebody waited in vain.
#[derive(Debug, thiserror::Error)]
#[error("the harness waited {:.1} s for {what}", waited.as_secs_f64())]
pub struct Overdue {
    pub what: String,
    pub waited: Duration,
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn interrupted(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// From now on SIGINT and SIGTERM end every wait, so that the children can be seen out.
pub fn listen_for_interrupts() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores into an atomic.
        unsafe { libc::signal(signal, interrupted as *const () as libc::sighandler_t) };
    }
}

/// Waits until `look` gives something.
///
/// # Errors
/// `Overdue` after `limit`, `Interrupted` on a signal, or what `look` fails with.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>, ChaosError>,
) -> Result<T, ChaosError> {
    let started = Instant::now();
    loop {
        if INTERRUPTED.load(Ordering::SeqCst) {
            return Err(ChaosError::Interrupted);
        }
        if let Some(found) = look()? {
            return Ok(found);
        }
        let waited = started.elapsed();
        if waited >= limit {
            let what = what.to_owned();
            return Err(Overdue { what, waited }.into());
        }
        std::thread::sleep(LOOK_EVERY.min(limit - waited));
    }
}

/// Lets time pass.
///
/// # Errors
/// `Interrupted` on a signal.
pub fn pass(time: Duration) -> Result<(), ChaosError> {
    match wait_for("time to pass", time, || Ok(None::<()>)) {
        Err(ChaosError::Overdue(_)) => Ok(()),
        other => other,
    }
}
