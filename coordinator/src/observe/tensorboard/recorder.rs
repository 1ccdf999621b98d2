//! An audience that writes event files. Owns the thread that touches the disk: the run's owner never waits for
//! it, and what it cannot take in time is left out and said.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;
use ulda_run::RunEnd;

use ulda_dataset::ConfusionMatrix;
use ulda_run::spec::{PathName, RunSpec};
use ulda_run::stage::{Cursor, Stage};

use super::board::{Strip, TensorBoardEvents};
use super::file::{EventFile, EventFileError};
use crate::journal::wall_millis;
use crate::report::SOURCE_ONLY;
use crate::rpc::Measures;
use crate::run::{Audience, News};
use crate::run_directory::RunDirectory;

/// Facts that wait for the thread.
const WAITING: usize = 4096;
/// What is noted is written at the latest after this long.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How often phase times and images per second are told.
const PACE_EVERY: f64 = 5.0;
/// More than this is not kept in memory until the next write.
const FULL_BYTES: usize = 1 << 20;
/// Longest wait for the last events when the run is over.
const LAST_EVENTS: Duration = Duration::from_secs(5);
/// Strips larger than this are left out.
const STRIP_BYTES: u64 = 8 << 20;

/// A fact with the moment it was told, seconds since 1970.
struct Told {
    at: f64,
    fact: Fact,
}

enum Fact {
    Started(Option<Cursor>),
    Step(u32, Cursor, Measures),
    Evaluated {
        model: String,
        set: PathName,
        place: Cursor,
        confusion: ConfusionMatrix,
    },
    Ended(RunEnd),
}

/// Writes the run's facts below its directory while they happen.
#[derive(Debug)]
pub struct TensorBoard {
    facts: Option<SyncSender<Told>>,
    ended: Receiver<()>,
    left_out: u64,
}

impl TensorBoard {
    /// Starts a new event file for this coordinator's part of the run.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(spec: &RunSpec, directory: &RunDirectory) -> std::io::Result<Self> {
        let (facts, inbox) = sync_channel(WAITING);
        let (over, ended) = channel();
        let writer = Writer {
            board: TensorBoardEvents::new(spec.course(), spec.classes(), now()),
            run_toml: spec.to_toml(),
            directory: directory.clone(),
            paced: now(),
        };
        std::thread::Builder::new()
            .name("tensorboard".into())
            .spawn(move || {
                if let Err(cause) = writer.write(&inbox) {
                    tracing::warn!(
                        error = crate::with_causes(&cause),
                        "no more events for TensorBoard; training goes on"
                    );
                }
                drop(over);
            })?;
        Ok(Self {
            facts: Some(facts),
            ended,
            left_out: 0,
        })
    }

    fn tell(&mut self, fact: Fact) {
        let Some(facts) = &self.facts else { return };
        match facts.try_send(Told { at: now(), fact }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                if self.left_out == 0 {
                    tracing::warn!("the disk is too slow for TensorBoard's events; some are left out");
                }
                self.left_out += 1;
            }
            // It said why.
            Err(TrySendError::Disconnected(_)) => self.facts = None,
        }
    }
}

impl Audience for TensorBoard {
    fn hear(&mut self, news: &News) {
        match news {
            News::Progress {
                slot,
                stage,
                steps_done,
                measures,
            } if measures.activity.is_empty() => {
                let place = Cursor {
                    stage: *stage,
                    step: *steps_done,
                };
                self.tell(Fact::Step(slot.0, place, measures.clone()));
            }
            News::Evaluated {
                model,
                set,
                place,
                confusion,
                ..
            } => self.tell(Fact::Evaluated {
                model: model.clone(),
                set: set.clone(),
                place: *place,
                confusion: confusion.clone(),
            }),
            News::GenerationStarted { at, .. } => self.tell(Fact::Started(*at)),
            News::Ended(end) => self.tell(Fact::Ended(end.clone())),
            _ => {}
        }
    }
}

impl Drop for TensorBoard {
    fn drop(&mut self) {
        self.facts = None;
        if self.ended.recv_timeout(LAST_EVENTS) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                seconds = LAST_EVENTS.as_secs(),
                "the last events for TensorBoard were not written in time"
            );
        }
        if self.left_out > 0 {
            tracing::warn!(facts = self.left_out, "left out of TensorBoard's events");
        }
    }
}

fn now() -> f64 {
    wall_millis() as f64 / 1e3
}

struct Writer {
    board: TensorBoardEvents,
    run_toml: String,
    directory: RunDirectory,
    paced: f64,
}

impl Writer {
    fn write(mut self, inbox: &Receiver<Told>) -> Result<(), EventFileError> {
        let mut file = EventFile::create(&self.directory.tensorboard(), now())?;
        file.note(&self.board.configuration(now(), &self.run_toml));
        loop {
            match inbox.recv_timeout(WRITE_EVERY) {
                Ok(told) => self.take(told, &mut file),
                Err(RecvTimeoutError::Timeout) => file.write()?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Ok(told) = inbox.try_recv() {
                self.take(told, &mut file);
                if file.pending_bytes() > FULL_BYTES {
                    file.write()?;
                }
            }
            file.write()?;
        }
        self.board.pace(now()).iter().for_each(|event| file.note(event));
        file.write()
    }

    fn take(&mut self, told: Told, file: &mut EventFile) {
        let Told { at, fact } = told;
        let board = &mut self.board;
        let mut note =
            |event: Option<super::event::TensorBoardEvent>| event.iter().for_each(|event| file.note(event));
        match fact {
            Fact::Started(cursor) => note(board.generation_started(at, cursor)),
            Fact::Step(rank, place, measures) => {
                board
                    .step(at, rank, place, &measures)
                    .into_iter()
                    .for_each(|event| note(Some(event)));
                if at - self.paced >= PACE_EVERY {
                    self.paced = at;
                    note(board.pace(at));
                }
            }
            Fact::Evaluated {
                model,
                set,
                place,
                confusion,
            } => {
                note(board.evaluated(at, set.as_str(), &model, place, &confusion));
                if place.stage == Stage::Evaluate && model == SOURCE_ONLY {
                    note(board.examples(
                        at,
                        set.as_str(),
                        place,
                        &strips(&self.directory.examples().join(&set)),
                    ));
                }
            }
            Fact::Ended(end) => note(board.ended(at, &end)),
        }
    }
}

/// The pictures of one set; none where they cannot be read from here.
pub(super) fn strips(folder: &Path) -> Vec<Strip> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut strips: Vec<Strip> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let is_png = path.extension().is_some_and(|extension| extension == "png");
            (is_png && entry.metadata().ok()?.len() <= STRIP_BYTES).then_some(())?;
            Some(Strip {
                name: path.file_stem()?.to_string_lossy().into_owned(),
                png: ulda_files::read_file(&path, STRIP_BYTES).ok()?,
            })
        })
        .collect();
    strips.sort_by(|one, other| one.name.cmp(&other.name));
    strips
}
