//! Reading a journal, live or finished.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rusqlite::{Connection, Row};
use serde::Serialize;
use ulda_core::spec::PathName;
use ulda_core::stage::{Cursor, Stage};

use super::schema::{FORMAT, TERM_FACT, format_of, open_for_reading};
use super::writer::JournalError;

/// Read access to one journal. Never writes, never blocks the writer.
#[derive(Debug)]
pub struct JournalReader {
    connection: Connection,
    path: PathBuf,
}

/// A record of the state machine, in the order they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    pub at_millis: i64,
    pub json: String,
}

/// One point of a curve; `None` where the value was not finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MetricPoint {
    pub step: u64,
    pub value: Option<f64>,
}

/// One measured value; `None` where it was not finite.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasurementRow {
    pub place: Cursor,
    pub name: String,
    pub value: Option<f64>,
    pub at_millis: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseRow {
    pub stage: Stage,
    pub slot: u32,
    pub name: String,
    pub amount: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageRow {
    pub stage: Stage,
    pub seconds: f64,
    pub digest: String,
    pub at_millis: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointRow {
    pub path: String,
    pub place: Cursor,
    pub digest: String,
    pub size_bytes: u64,
    pub at_millis: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluationRow {
    pub model: String,
    pub set: PathName,
    pub place: Cursor,
    pub images: u64,
    /// 19 × 19, rows truth, columns prediction.
    pub confusion: Vec<u64>,
    pub mean_iou: Option<f64>,
    pub seconds: f64,
    pub at_millis: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventRow {
    pub at_millis: i64,
    pub level: String,
    pub slot: Option<u32>,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRow {
    pub slot: u32,
    pub attempt: u32,
    pub process_id: u32,
    pub started_ticks: u64,
}

impl JournalReader {
    /// Opens the journal at `path` read-only.
    ///
    /// # Errors
    /// There is none, or it is not a journal of this format.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let connection = open_for_reading(path).map_err(|source| JournalError::of_read(path, source))?;
        let found = format_of(&connection).map_err(|source| JournalError::of_read(path, source))?;
        if found != FORMAT {
            return Err(JournalError::Format {
                path: path.to_owned(),
                found,
            });
        }
        Ok(Self {
            connection,
            path: path.to_owned(),
        })
    }

    fn rows<T>(
        &self,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, JournalError> {
        let list = || -> rusqlite::Result<Vec<T>> {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map(values, read)?.collect()
        };
        list().map_err(|source| JournalError::of_read(&self.path, source))
    }

    /// # Errors
    /// The journal cannot be read.
    pub fn records(&self) -> Result<Vec<RecordRow>, JournalError> {
        self.rows("SELECT at, json FROM records ORDER BY seq", &[], |row| {
            Ok(RecordRow {
                at_millis: row.get(0)?,
                json: row.get(1)?,
            })
        })
    }

    /// # Errors
    /// The journal cannot be read.
    pub fn facts(&self) -> Result<BTreeMap<String, String>, JournalError> {
        let pairs = self.rows("SELECT key, value FROM facts", &[], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        Ok(pairs.into_iter().collect())
    }

    /// The highest term a coordinator claimed the journal with.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn claimed_term(&self) -> Result<Option<u64>, JournalError> {
        let facts = self.facts()?;
        Ok(facts.get(TERM_FACT).and_then(|term| term.parse().ok()))
    }

    /// All curves by stage and name, each in order of steps.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn curves(&self) -> Result<BTreeMap<Stage, BTreeMap<String, Vec<MetricPoint>>>, JournalError> {
        let points = self.rows(
            "SELECT stage, name, step, value FROM metrics ORDER BY name, stage, step",
            &[],
            |row| {
                let point = MetricPoint {
                    step: count(row, 2)?,
                    value: row.get(3)?,
                };
                Ok((stage(row, 0)?, row.get::<_, String>(1)?, point))
            },
        )?;
        let mut curves: BTreeMap<Stage, BTreeMap<String, Vec<MetricPoint>>> = BTreeMap::new();
        for (stage, name, point) in points {
            curves
                .entry(stage)
                .or_default()
                .entry(name)
                .or_default()
                .push(point);
        }
        Ok(curves)
    }

    /// All values of all curves, in no order.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn measurements(&self) -> Result<Vec<MeasurementRow>, JournalError> {
        self.rows("SELECT stage, step, name, value, at FROM metrics", &[], |row| {
            Ok(MeasurementRow {
                place: Cursor {
                    stage: stage(row, 0)?,
                    step: count(row, 1)?,
                },
                name: row.get(2)?,
                value: row.get(3)?,
                at_millis: row.get(4)?,
            })
        })
    }

    /// The newest value of each metric of a stage.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn latest(&self, of: Stage) -> Result<BTreeMap<String, f64>, JournalError> {
        let sql = "SELECT name, value FROM metrics m WHERE stage = ?1 AND value IS NOT NULL AND step =
                   (SELECT max(step) FROM metrics WHERE name = m.name AND stage = ?1)";
        let pairs = self.rows(sql, &[&of.name()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(pairs.into_iter().collect())
    }

    /// # Errors
    /// The journal cannot be read.
    pub fn phases(&self) -> Result<Vec<PhaseRow>, JournalError> {
        self.rows(
            "SELECT stage, slot, name, amount FROM phases ORDER BY stage, slot, name",
            &[],
            |row| {
                Ok(PhaseRow {
                    stage: stage(row, 0)?,
                    slot: row.get(1)?,
                    name: row.get(2)?,
                    amount: row.get(3)?,
                })
            },
        )
    }

    /// # Errors
    /// The journal cannot be read.
    pub fn stages(&self) -> Result<Vec<StageRow>, JournalError> {
        let mut rows = self.rows("SELECT stage, seconds, digest, at FROM stages", &[], |row| {
            Ok(StageRow {
                stage: stage(row, 0)?,
                seconds: row.get(1)?,
                digest: row.get(2)?,
                at_millis: row.get(3)?,
            })
        })?;
        rows.sort_by_key(|row| row.stage);
        Ok(rows)
    }

    /// Oldest first.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<CheckpointRow>, JournalError> {
        self.rows(
            "SELECT path, stage, step, digest, size_bytes, at FROM checkpoints ORDER BY at, path",
            &[],
            |row| {
                Ok(CheckpointRow {
                    path: row.get(0)?,
                    place: Cursor {
                        stage: stage(row, 1)?,
                        step: count(row, 2)?,
                    },
                    digest: row.get(3)?,
                    size_bytes: count(row, 4)?,
                    at_millis: row.get(5)?,
                })
            },
        )
    }

    /// In the order of the run's steps.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn evaluations(&self) -> Result<Vec<EvaluationRow>, JournalError> {
        let sql =
            "SELECT model, set_name, stage, step, images, confusion, mean_iou, seconds, at FROM evaluations";
        let mut rows = self.rows(sql, &[], |row| {
            Ok(EvaluationRow {
                model: row.get(0)?,
                set: parsed(row, 1)?,
                place: Cursor {
                    stage: stage(row, 2)?,
                    step: count(row, 3)?,
                },
                images: count(row, 4)?,
                confusion: serde_json::from_str(&row.get::<_, String>(5)?).unwrap_or_default(),
                mean_iou: row.get(6)?,
                seconds: row.get(7)?,
                at_millis: row.get(8)?,
            })
        })?;
        rows.sort_by(|left, right| {
            (left.place, &left.set, &left.model).cmp(&(right.place, &right.set, &right.model))
        });
        Ok(rows)
    }

    /// The last `count` events, oldest first.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn last_events(&self, count: u32) -> Result<Vec<EventRow>, JournalError> {
        let sql = "SELECT at, level, slot, text FROM events ORDER BY seq DESC LIMIT ?";
        let mut rows = self.rows(sql, &[&count], |row| {
            Ok(EventRow {
                at_millis: row.get(0)?,
                level: row.get(1)?,
                slot: row.get(2)?,
                text: row.get(3)?,
            })
        })?;
        rows.reverse();
        Ok(rows)
    }

    /// Processes that were started and not seen to end.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn processes(&self) -> Result<Vec<ProcessRow>, JournalError> {
        self.rows(
            "SELECT slot, attempt, process_id, started_ticks FROM processes ORDER BY slot",
            &[],
            |row| {
                Ok(ProcessRow {
                    slot: row.get(0)?,
                    attempt: row.get(1)?,
                    process_id: row.get(2)?,
                    started_ticks: count(row, 3)?,
                })
            },
        )
    }
}

/// SQLite's integers are signed; no count is below zero.
fn count(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(index)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(index, value))
}

fn stage(row: &Row<'_>, index: usize) -> rusqlite::Result<Stage> {
    parsed(row, index)
}

fn parsed<T>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let name: String = row.get(index)?;
    name.parse().map_err(|cause| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(cause))
    })
}
