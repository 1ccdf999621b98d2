//! Where the run's time goes: into steps that count, or into a cause for which none are trained.

use tokio::time::Instant;
use ulda_machine::{Verdict, WaitReason};
use ulda_run::variant_names;

/// What time is spent on when no step that counts is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Workers are missing.
    Gathering,
    /// Workers load weights and data.
    Loading,
    /// Workers are asked what state they kept.
    Reporting,
    /// A pause after generations that broke in a row.
    Pacing,
    /// Workers connect and get the state in place.
    Forming,
    /// Committed steps are trained again, because nobody holds them any more.
    Repeating,
    /// Workers leave.
    Draining,
}

variant_names!(Cause {
    Gathering = "gathering",
    Loading = "loading",
    Reporting = "reporting",
    Pacing = "pacing",
    Forming = "forming",
    Repeating = "repeating",
    Draining = "draining",
});

/// What the present moment counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    Good,
    Bad(Cause),
    Over,
}

/// Adds up time by what the run was doing.
#[derive(Debug)]
pub struct TimeAccount {
    now: Now,
    repeats: bool,
    since: Instant,
}

impl TimeAccount {
    /// Before anything is known, workers are gathered.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            now: Now::Bad(Cause::Gathering),
            repeats: false,
            since: now,
        }
    }

    /// Hands out the time since the last call: `None` is time well spent; nothing after the end.
    pub fn settle(&mut self, now: Instant) -> Option<(Option<Cause>, f64)> {
        let seconds = (now - self.since).as_secs_f64();
        self.since = now;
        match self.now {
            Now::Good if self.repeats => Some((Some(Cause::Repeating), seconds)),
            Now::Good => Some((None, seconds)),
            Now::Bad(cause) => Some((Some(cause), seconds)),
            Now::Over => None,
        }
    }

    /// The run does something else from here on. Settle first.
    pub fn turn(&mut self, verdict: &Verdict) {
        self.now = match verdict {
            Verdict::Waiting(WaitReason::TooFew { .. } | WaitReason::Missing { .. }) => {
                Now::Bad(Cause::Gathering)
            }
            Verdict::Waiting(WaitReason::Loading { .. }) => Now::Bad(Cause::Loading),
            Verdict::Waiting(WaitReason::Reports { .. }) => Now::Bad(Cause::Reporting),
            Verdict::Waiting(WaitReason::Pacing { .. }) => Now::Bad(Cause::Pacing),
            Verdict::Forming { .. } => Now::Bad(Cause::Forming),
            // A generation trains on while its coordinator waits for workers to attach again.
            Verdict::Training { .. } | Verdict::Reattaching { .. } => Now::Good,
            Verdict::Draining { .. } => Now::Bad(Cause::Draining),
            Verdict::Finished | Verdict::Stopped | Verdict::Failed(_) => Now::Over,
        };
    }

    /// Whether what is trained was committed before. Settle first.
    pub fn repeats(&mut self, repeats: bool) {
        self.repeats = repeats;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ulda_run::ids::Generation;

    use super::*;

    #[test]
    fn time_goes_to_what_the_run_does() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut account = TimeAccount::new(start);
        assert_eq!(account.settle(at(2)), Some((Some(Cause::Gathering), 2.0)));
        account.turn(&Verdict::Training {
            generation: Generation(1),
            workers: 2,
        });
        assert_eq!(account.settle(at(5)), Some((None, 3.0)));
        account.repeats(true);
        assert_eq!(account.settle(at(6)), Some((Some(Cause::Repeating), 1.0)));
        account.turn(&Verdict::Waiting(WaitReason::Pacing { breaks: 3 }));
        assert_eq!(account.settle(at(7)), Some((Some(Cause::Pacing), 1.0)));
        account.turn(&Verdict::Stopped);
        assert_eq!(account.settle(at(9)), None);
    }
}
