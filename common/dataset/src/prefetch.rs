//! Decoder threads that read ahead, in a bounded window, and hand examples out in job order.
//!
//! Invariants: at most `capacity` examples exist beyond the one handed out (being decoded, waiting, or finished out of
//! turn); jobs are taken in order, so the next one due is always among them and the window cannot lock up. A bad file
//! or a panic is the result of its own job and harms no other. Nothing polls: decoders wait for a permit, the consumer
//! for a result.

use std::any::Any;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::counters::{DecodeCounters, Ready};
use crate::dataset::Dataset;
use crate::error::SampleError;
use crate::example::{Example, Job, load};

const DEFAULT_PATIENCE: Duration = Duration::from_secs(300);

type Outcome = Result<Example, SampleError>;
type Numbered = (u64, Outcome, Ready);
type Jobs = Box<dyn Iterator<Item = Job> + Send>;

/// Reads samples ahead of their use. An iterator over the jobs' results, in order.
///
/// Dropping it stops the threads after the decode they are in, without waiting for them.
pub struct Prefetcher {
    shared: Arc<Shared>,
    permits: Sender<()>,
    results: Receiver<Numbered>,
    early: BTreeMap<u64, (Outcome, Ready)>,
    due: u64,
    patience: Duration,
}

struct Shared {
    dataset: Arc<Dataset>,
    counters: Arc<DecodeCounters>,
    source: Mutex<Source>,
}

struct Source {
    jobs: Jobs,
    taken: u64,
    exhausted: bool,
    /// Samples of the jobs that are taken and not yet handed out, to name the one that is waited for.
    open: BTreeMap<u64, usize>,
}

impl Prefetcher {
    /// Starts `threads` decoders that keep at most `capacity` examples in flight.
    ///
    /// Errors only if the operating system refuses a thread.
    pub fn new(
        dataset: Arc<Dataset>,
        jobs: impl Iterator<Item = Job> + Send + 'static,
        threads: NonZeroUsize,
        capacity: NonZeroUsize,
    ) -> Result<Self, SampleError> {
        Self::counted(dataset, jobs, threads, capacity, Arc::default())
    }

    /// As [`Prefetcher::new`]; what it does is added to `counters`.
    pub fn counted(
        dataset: Arc<Dataset>,
        jobs: impl Iterator<Item = Job> + Send + 'static,
        threads: NonZeroUsize,
        capacity: NonZeroUsize,
        counters: Arc<DecodeCounters>,
    ) -> Result<Self, SampleError> {
        let source = Source {
            jobs: Box::new(jobs),
            taken: 0,
            exhausted: false,
            open: BTreeMap::new(),
        };
        let shared = Arc::new(Shared {
            dataset,
            counters,
            source: Mutex::new(source),
        });
        let (permits, permit_queue) = bounded(capacity.get());
        for _ in 0..capacity.get() {
            // Fits: the queue was made for this many.
            permits.send(()).ok();
        }
        let (result_sender, results) = unbounded();
        let prefetcher = Self {
            shared,
            permits,
            results,
            early: BTreeMap::new(),
            due: 0,
            patience: DEFAULT_PATIENCE,
        };
        for number in 0..threads.min(capacity).get() {
            let shared = Arc::clone(&prefetcher.shared);
            let (permits, results) = (permit_queue.clone(), result_sender.clone());
            thread::Builder::new()
                .name(format!("decode-{number}"))
                .spawn(move || decode_until_stopped(&shared, &permits, &results))
                .map_err(|source| SampleError::Spawn { source })?;
        }
        Ok(prefetcher)
    }

    /// Sets how long one example may take to arrive before it is given up as [`SampleError::Stalled`]; 5 minutes
    /// unless set.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The next example in job order, waiting at most until `deadline`; none after the last job.
    ///
    /// After [`SampleError::Stalled`] the same job is still due.
    pub fn next_before(&mut self, deadline: Instant) -> Option<Outcome> {
        let began = Instant::now();
        let outcome = self.await_due(began, deadline);
        self.shared.counters.waited(began.elapsed());
        outcome
    }

    fn await_due(&mut self, began: Instant, deadline: Instant) -> Option<Outcome> {
        loop {
            if let Some((outcome, _)) = self.early.remove(&self.due) {
                return Some(self.hand_out(outcome));
            }
            match self.results.recv_deadline(deadline) {
                Ok((number, outcome, ready)) => {
                    self.early.insert(number, (outcome, ready));
                }
                // All decoders are gone, so what they sent is all there will be.
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => return Some(Err(self.stalled(began.elapsed()))),
            }
        }
    }

    fn hand_out(&mut self, outcome: Outcome) -> Outcome {
        self.shared.lock_source().open.remove(&self.due);
        self.due += 1;
        // Never blocks: one permit comes back for each that was taken.
        self.permits.send(()).ok();
        outcome
    }

    fn stalled(&self, waited: Duration) -> SampleError {
        let sample = self.shared.lock_source().open.get(&self.due).copied();
        let path = sample
            .map(|sample| self.shared.path_of(sample))
            .unwrap_or_default();
        SampleError::Stalled { path, waited }
    }
}

impl Iterator for Prefetcher {
    type Item = Outcome;

    fn next(&mut self) -> Option<Outcome> {
        self.next_before(Instant::now() + self.patience)
    }
}

impl Shared {
    fn lock_source(&self) -> std::sync::MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path_of(&self, sample: usize) -> PathBuf {
        self.dataset
            .samples
            .get(sample)
            .map(|entry| entry.image.clone())
            .unwrap_or_default()
    }
}

impl Source {
    /// The next job with its number. A panic of the job iterator is an outcome too, and the last one.
    fn take(&mut self) -> Option<(u64, Result<Job, SampleError>)> {
        if self.exhausted {
            return None;
        }
        let jobs = &mut self.jobs;
        let job = match catch_unwind(AssertUnwindSafe(|| jobs.next())) {
            Ok(Some(job)) => Ok(job),
            Ok(None) => {
                self.exhausted = true;
                return None;
            }
            Err(panic) => {
                self.exhausted = true;
                Err(SampleError::JobsPanicked {
                    message: panic_message(&*panic),
                })
            }
        };
        let number = self.taken;
        self.taken += 1;
        if let Ok(job) = &job {
            self.open.insert(number, job.sample);
        }
        Some((number, job))
    }
}

fn decode_until_stopped(shared: &Shared, permits: &Receiver<()>, results: &Sender<Numbered>) {
    while permits.recv().is_ok() {
        let Some((number, job)) = shared.lock_source().take() else {
            return;
        };
        let outcome = job.and_then(|job| {
            let decode = || load(&shared.dataset, job.sample, &job.sampling);
            let panicked = |panic: Box<dyn Any + Send>| {
                Err(SampleError::Panicked {
                    path: shared.path_of(job.sample),
                    message: panic_message(&*panic),
                })
            };
            let counted = || catch_unwind(decode).unwrap_or_else(panicked);
            shared.counters.decode(counted)
        });
        if results.send((number, outcome, shared.counters.ready())).is_err() {
            // The prefetcher was dropped.
            return;
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    text.or(owned).unwrap_or("no message").to_owned()
}
