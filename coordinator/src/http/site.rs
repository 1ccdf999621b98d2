//! What the answers are made of: a run's directory and, while it is served, its metrics and its live state.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use ulda_net::AdmissionCaps;

use super::stop::Stopper;
use crate::observe::Live;
use crate::observe::metrics::RunExposition;
use crate::observe::status_page;
use crate::report::RunReadError;
use crate::run_directory::RunDirectory;
use crate::status;

/// Pages that may listen for changes at the same time.
const LISTENERS: usize = 64;
/// Page and status are not made again for this long, nor for ten times as long as it took.
const FRESH: Duration = Duration::from_secs(1);
/// An owner that has not looked around for this long is stuck; longer than a journal commit may take.
const LOOKS_EVERY: Duration = Duration::from_secs(90);

/// Longest wait for the scrape after a run's end.
const LAST_SCRAPE: Duration = Duration::from_secs(30);

/// One run, to be shown.
#[derive(Debug)]
pub struct Site {
    directory: RunDirectory,
    served: Option<Served>,
    stopper: Option<Stopper>,
    closing: CancellationToken,
    pub(super) listeners: Arc<Semaphore>,
    live_part: Mutex<Option<Rendered>>,
    status: Mutex<Option<Rendered>>,
    scrapes: watch::Sender<Scrapes>,
}

/// How somebody fetches the metrics.
#[derive(Clone, Copy, Debug, Default)]
struct Scrapes {
    last: Option<Instant>,
    /// Between the last two.
    apart: Option<Duration>,
}

/// What only a run that is served has.
#[derive(Debug)]
struct Served {
    exposition: RunExposition,
    live: watch::Receiver<Live>,
}

#[derive(Clone, Debug)]
struct Rendered {
    text: Arc<str>,
    until: Instant,
    /// Nothing comes after it.
    last: bool,
}

impl Site {
    /// A run that this coordinator serves.
    #[must_use]
    pub fn of_served(
        directory: RunDirectory,
        exposition: RunExposition,
        live: watch::Receiver<Live>,
    ) -> Self {
        Self::new(directory, Some(Served { exposition, live }))
    }

    /// A run as its directory has it.
    #[must_use]
    pub fn of_directory(directory: RunDirectory) -> Self {
        Self::new(directory, None)
    }

    fn new(directory: RunDirectory, served: Option<Served>) -> Self {
        Self {
            directory,
            served,
            stopper: None,
            closing: CancellationToken::new(),
            // Half of what one address may hold: its other requests are answered whatever pages are open there.
            listeners: Arc::new(Semaphore::new(
                LISTENERS.min(AdmissionCaps::of_process().per_peer / 2),
            )),
            live_part: Mutex::new(None),
            status: Mutex::new(None),
            scrapes: watch::Sender::new(Scrapes::default()),
        }
    }

    /// Lets whoever has the run's token stop it.
    #[must_use]
    pub fn stopped_by(self, stopper: Stopper) -> Self {
        Self {
            stopper: Some(stopper),
            ..self
        }
    }

    pub(super) fn stopper(&self) -> Option<&Stopper> {
        self.stopper.as_ref()
    }

    pub(super) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    pub(super) fn directory(&self) -> &RunDirectory {
        &self.directory
    }

    /// Whether this coordinator serves the run, rather than only show it.
    pub(super) fn is_served(&self) -> bool {
        self.served.is_some()
    }

    pub(super) fn exposition(&self) -> Option<&RunExposition> {
        self.served.as_ref().map(|served| &served.exposition)
    }

    /// Whether whoever owns the run still looks around; a run that nobody serves here is well.
    pub(super) fn is_well(&self) -> bool {
        self.served.as_ref().is_none_or(|served| {
            let looked = served.live.borrow().looked;
            looked.is_none_or(|looked| looked.elapsed() < LOOKS_EVERY)
        })
    }

    /// The metrics were fetched.
    pub(super) fn scraped(&self) {
        let now = Instant::now();
        self.scrapes.send_modify(|scrapes| {
            scrapes.apart = scrapes.last.map(|last| now - last);
            scrapes.last = Some(now);
        });
    }

    /// Returns when the metrics were fetched once more, if somebody fetches them regularly. Waits for one and a half
    /// of its intervals and a second, at most for [`LAST_SCRAPE`].
    pub(super) async fn until_scraped(&self) {
        let mut scrapes = self.scrapes.subscribe();
        let seen = *scrapes.borrow_and_update();
        let Some((last, apart)) = seen.last.zip(seen.apart) else {
            return;
        };
        let patience = (apart * 3 / 2 + Duration::from_secs(1)).min(LAST_SCRAPE);
        if last.elapsed() < patience {
            // Nobody came: nobody scrapes any more.
            let _ = tokio::time::timeout(patience, scrapes.changed()).await;
        }
    }

    /// Changes when there may be something new to show: with the journal's files.
    pub(super) fn mark(&self) -> u128 {
        let journal = self.directory.journal_file();
        let changed = ["", "-wal"].iter().filter_map(|ending| {
            let mut name = journal.clone().into_os_string();
            name.push(ending);
            let modified = std::fs::metadata(name).ok()?.modified().ok()?;
            Some(modified.duration_since(UNIX_EPOCH).ok()?.as_millis())
        });
        changed.max().unwrap_or(0)
    }

    /// The changing part of the page. Reads the journal, so not for async threads.
    pub(super) fn live_part(&self) -> Result<Arc<str>, RunReadError> {
        self.fresh(&self.live_part, || {
            let live = self.served.as_ref().map(|served| served.live.borrow().clone());
            status_page::live_part(&self.directory, live.as_ref())
        })
    }

    /// What `coordinator status -o json` prints. Reads the journal, so not for async threads.
    pub(super) fn status(&self) -> Result<Arc<str>, String> {
        self.fresh(&self.status, || {
            let status = status::gather(&self.directory).map_err(|cause| cause.to_string())?;
            let json = serde_json::to_string_pretty(&status).map_err(|cause| cause.to_string())?;
            Ok(json + "\n")
        })
    }

    /// What `kept` holds, or else what `make` makes; whoever comes meanwhile gets the same. Once the site closes it is made a
    /// last time.
    fn fresh<E>(
        &self,
        kept: &Mutex<Option<Rendered>>,
        make: impl FnOnce() -> Result<String, E>,
    ) -> Result<Arc<str>, E> {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        let last = self.closing.is_cancelled();
        let is_fresh = |rendered: &&Rendered| rendered.last || (!last && began < rendered.until);
        if let Some(fresh) = kept.as_ref().filter(is_fresh) {
            return Ok(fresh.text.clone());
        }
        let text: Arc<str> = make()?.into();
        *kept = Some(Rendered {
            text: text.clone(),
            until: Instant::now() + FRESH.max(10 * began.elapsed()),
            last,
        });
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn many_who_ask_for_the_status_cost_one_reading_of_the_journal() {
        let site = Site::of_directory(RunDirectory::at("/no such run"));
        let made = Cell::new(0);
        let ask = || {
            let make = || {
                made.set(made.get() + 1);
                Ok::<_, ()>(format!("status {}", made.get()))
            };
            site.fresh(&site.status, make).unwrap()
        };
        for _ in 0..100 {
            assert_eq!(&*ask(), "status 1");
        }
        site.closing().cancel();
        assert_eq!([&*ask(), &*ask()], ["status 2"; 2], "the last word is kept");
    }

    #[tokio::test]
    async fn only_who_scrapes_regularly_is_waited_for() {
        let site = Arc::new(Site::of_directory(RunDirectory::at("/no such run")));
        let done = |site: Arc<Site>| tokio::spawn(async move { site.until_scraped().await });
        done(site.clone()).await.unwrap();
        site.scraped();
        done(site.clone()).await.unwrap();
        assert!(site.scrapes.borrow().apart.is_none());
        site.scraped();
        let waits = done(site.clone());
        while site.scrapes.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished());
        site.scraped();
        waits.await.unwrap();
    }
}
