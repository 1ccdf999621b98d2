//! A line in the log for each caller that was refused before it proved that it belongs to the run: its address, what it
//! claimed to be, and why.
//!
//! Many refusals do not fill the disk: past a number of lines within a window they are counted, and the next line says how
//! many were left out.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines written within one window.
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);
/// Longest claim that is repeated.
const CLAIM_LETTERS: usize = 160;

/// Logs refused callers; clones count together.
#[derive(Clone, Debug, Default)]
pub struct RefusalLog(Arc<Mutex<Tally>>);

#[derive(Debug, Default)]
struct Tally {
    since: Option<Instant>,
    logged: u32,
    unlogged: u64,
}

impl RefusalLog {
    /// Logs that `listener` refused the caller at `peer`. `claim` is what it said of itself, if anything.
    pub fn refused(&self, listener: &'static str, peer: Option<SocketAddr>, claim: Option<&[u8]>, why: &str) {
        let Some(unlogged) = self.line(Instant::now()) else {
            return;
        };
        let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
        let claim = claim.map_or_else(|| "nothing".to_owned(), shown);
        let unlogged = (unlogged > 0).then_some(unlogged);
        tracing::warn!(
            listener,
            peer,
            claim,
            why,
            unlogged,
            "unauthenticated caller refused"
        );
    }

    /// Whether to write a line now, and how many were left out before it.
    fn line(&self, now: Instant) -> Option<u64> {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tally
            .since
            .is_none_or(|since| now.duration_since(since) >= WINDOW)
        {
            tally.since = Some(now);
            tally.logged = 0;
        }
        if tally.logged == LINES {
            tally.unlogged += 1;
            return None;
        }
        tally.logged += 1;
        Some(std::mem::take(&mut tally.unlogged))
    }
}

/// What a caller said of itself, without control characters.
fn shown(claim: &[u8]) -> String {
    let text = String::from_utf8_lossy(claim);
    let plain = text.chars().take(CLAIM_LETTERS);
    plain.map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_refusals_make_few_lines_and_are_counted() {
        let log = RefusalLog::default();
        let now = Instant::now();
        let logged = (0..50).filter(|_| log.line(now).is_some()).count();
        assert_eq!(logged, LINES as usize);
        assert_eq!(log.line(now + WINDOW), Some(30));
        assert_eq!(log.line(now + WINDOW), Some(0));
    }

    #[test]
    fn a_claim_is_harmless_in_a_log() {
        assert_eq!(
            shown(b"run `x`\n{\"level\":\"ERROR\"}"),
            "run `x`?{\"level\":\"ERROR\"}"
        );
        assert_eq!(shown(&[b'a'; 1000]).len(), CLAIM_LETTERS);
    }
}
