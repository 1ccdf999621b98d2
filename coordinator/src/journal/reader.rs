//! Reading a journal, live or finished.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rusqlite::{Connection, Row};
use serde::Serialize;
use ulda_dataset::ConfusionMatrix;
use ulda_run::spec::PathName;
use ulda_run::stage::{Cursor, Stage};

use super::schema::{FORMAT, TERM_FACT, format_of, open_for_reading};
use super::writer::JournalError;

/// Beyond any count and any date of a run.
const MOST: i64 = 1 << 53;

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
    /// A row and a column for each class, rows truth, columns prediction.
    pub confusion: ConfusionMatrix,
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
        JournalError::of_special(path)?;
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

    /// The rows that hold what they should; each other one is logged and left out.
    fn good_rows<T>(
        &self,
        table: &str,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, JournalError> {
        let rows = self.rows(sql, values, |row| {
            Ok(read(row).map_err(|cause| (shown(row), cause)))
        })?;
        let good = rows.into_iter().filter_map(|row| {
            row.inspect_err(|(row, cause)| {
                let journal = self.path.display();
                tracing::warn!("journal `{journal}`: row ({row}) of `{table}` is left out: {cause}");
            })
            .ok()
        });
        Ok(good.collect())
    }

    /// # Errors
    /// The journal cannot be read.
    pub fn records(&self) -> Result<Vec<RecordRow>, JournalError> {
        self.rows("SELECT at, json FROM records ORDER BY seq", &[], |row| {
            Ok(RecordRow {
                // For people; what happened counts without it.
                at_millis: millis(row, 0).unwrap_or_default(),
                // What is no text is no record, which whoever reads it says with its place.
                json: row.get(1).unwrap_or_default(),
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
        let points = self.good_rows(
            "metrics",
            "SELECT stage, name, step, value FROM metrics ORDER BY name, stage, step",
            &[],
            |row| {
                let point = MetricPoint {
                    step: count(row, 2)?,
                    value: finite(row, 3)?,
                };
                Ok((parsed(row, 0)?, row.get::<_, String>(1)?, point))
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
        let sql = "SELECT stage, step, name, value, at FROM metrics";
        self.good_rows("metrics", sql, &[], |row| {
            Ok(MeasurementRow {
                place: Cursor {
                    stage: parsed(row, 0)?,
                    step: count(row, 1)?,
                },
                name: row.get(2)?,
                value: finite(row, 3)?,
                at_millis: millis(row, 4)?,
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
        let read = |row: &Row<'_>| Ok((row.get(0)?, finite(row, 1)?));
        let pairs = self.good_rows("metrics", sql, &[&of.name()], read)?.into_iter();
        Ok(pairs.filter_map(|(name, value)| Some((name, value?))).collect())
    }

    /// # Errors
    /// The journal cannot be read.
    pub fn phases(&self) -> Result<Vec<PhaseRow>, JournalError> {
        self.good_rows(
            "phases",
            "SELECT stage, slot, name, amount FROM phases ORDER BY stage, slot, name",
            &[],
            |row| {
                Ok(PhaseRow {
                    stage: parsed(row, 0)?,
                    slot: row.get(1)?,
                    name: row.get(2)?,
                    amount: amount(row, 3)?,
                })
            },
        )
    }

    /// # Errors
    /// The journal cannot be read.
    pub fn stages(&self) -> Result<Vec<StageRow>, JournalError> {
        let sql = "SELECT stage, seconds, digest, at FROM stages";
        let mut rows = self.good_rows("stages", sql, &[], |row| {
            Ok(StageRow {
                stage: parsed(row, 0)?,
                seconds: amount(row, 1)?,
                digest: row.get(2)?,
                at_millis: millis(row, 3)?,
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
        self.good_rows(
            "checkpoints",
            "SELECT path, stage, step, digest, size_bytes, at FROM checkpoints ORDER BY at, path",
            &[],
            |row| {
                Ok(CheckpointRow {
                    path: row.get(0)?,
                    place: Cursor {
                        stage: parsed(row, 1)?,
                        step: count(row, 2)?,
                    },
                    digest: row.get(3)?,
                    size_bytes: count(row, 4)?,
                    at_millis: millis(row, 5)?,
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
        let mut rows = self.good_rows("evaluations", sql, &[], |row| {
            Ok(EvaluationRow {
                model: row.get(0)?,
                set: parsed(row, 1)?,
                place: Cursor {
                    stage: parsed(row, 2)?,
                    step: count(row, 3)?,
                },
                images: count(row, 4)?,
                confusion: serde_json::from_str(&row.get::<_, String>(5)?)
                    .map_err(|cause| not_text(5, cause))?,
                mean_iou: finite(row, 6)?,
                seconds: amount(row, 7)?,
                at_millis: millis(row, 8)?,
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
        let mut rows = self.good_rows("events", sql, &[&count], |row| {
            Ok(EventRow {
                at_millis: millis(row, 0)?,
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

/// SQLite's integers are signed; no count is below zero, or so large that sums of counts would overflow.
fn count(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let value = millis(row, index)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(index, value))
}

/// Milliseconds since 1970, in years of four digits or a few more.
fn millis(row: &Row<'_>, index: usize) -> rusqlite::Result<i64> {
    let value: i64 = row.get(index)?;
    if !(0..=MOST).contains(&value) {
        return Err(rusqlite::Error::IntegralValueOutOfRange(index, value));
    }
    Ok(value)
}

/// A number of seconds, images or steps: finite and not below zero.
fn amount(row: &Row<'_>, index: usize) -> rusqlite::Result<f64> {
    let value: f64 = row.get(index)?;
    if !(0.0..=MOST as f64).contains(&value) {
        return Err(not_real(index, format!("{value} is no amount")));
    }
    Ok(value)
}

/// A measured value; none where it left the finite numbers.
fn finite(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<f64>> {
    let value: Option<f64> = row.get(index)?;
    Ok(value.filter(|value| value.is_finite()))
}

fn not_real(index: usize, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Real, why.into())
}

fn not_text(index: usize, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, cause.into())
}

/// The first columns of a row, for a person to find it again.
fn shown(row: &Row<'_>) -> String {
    const COLUMNS: usize = 4;
    const CHARACTERS: usize = 60;
    let names = row.as_ref().column_names();
    let shown = names.take(COLUMNS).enumerate().map(|(index, name)| {
        let value = row.get_ref(index).map(rusqlite::types::Value::try_from);
        let text = match value {
            Ok(Ok(rusqlite::types::Value::Text(text))) => text.escape_debug().take(CHARACTERS).collect(),
            Ok(Ok(rusqlite::types::Value::Integer(number))) => number.to_string(),
            Ok(Ok(rusqlite::types::Value::Real(number))) => number.to_string(),
            Ok(Ok(rusqlite::types::Value::Null)) => "NULL".to_owned(),
            Ok(Ok(rusqlite::types::Value::Blob(_)) | Err(_)) | Err(_) => "?".to_owned(),
        };
        format!("{name} {text}")
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn parsed<T>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let name: String = row.get(index)?;
    name.parse().map_err(|cause| not_text(index, cause))
}
