//! The rows that were checked, written as they come: a GPU that is lent may be taken back at any time.

use std::path::PathBuf;
use std::time::Instant;

/// What a row came to, with what was seen.
pub enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

/// A row's figure, or what was wrong.
pub type Checked = Result<String, String>;

struct Row {
    name: String,
    outcome: Outcome,
    seconds: f64,
}

pub struct Table {
    title: String,
    only: Option<String>,
    out: Option<PathBuf>,
    rows: Vec<Row>,
}

impl Table {
    /// `only` rows whose name contains it; all rows so far are written to `out` whenever there is a new one.
    pub fn new(title: String, only: Option<String>, out: Option<PathBuf>) -> Self {
        Self {
            title,
            only,
            out,
            rows: Vec::new(),
        }
    }

    /// Runs one check and keeps its row. A panic is a failure like another.
    pub fn row(&mut self, name: &str, check: impl FnOnce() -> Checked) {
        if self
            .only
            .as_ref()
            .is_some_and(|only| !name.contains(only.as_str()))
        {
            return;
        }
        eprintln!("{name} ...");
        let started = Instant::now();
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
        let outcome = match checked {
            Ok(Ok(seen)) => Outcome::Passed(seen),
            Ok(Err(why)) => Outcome::Failed(why),
            Err(_) => Outcome::Failed("panicked, see above".to_owned()),
        };
        self.keep(name, outcome, started.elapsed().as_secs_f64());
    }

    pub fn skip(&mut self, name: &str, why: &str) {
        self.keep(name, Outcome::Skipped(why.to_owned()), 0.0);
    }

    fn keep(&mut self, name: &str, outcome: Outcome, seconds: f64) {
        let (word, text) = told(&outcome);
        eprintln!("{name}: {word} {text}");
        self.rows.push(Row {
            name: name.to_owned(),
            outcome,
            seconds,
        });
        if let Some(out) = &self.out
            && let Err(error) = std::fs::write(out, self.text())
        {
            eprintln!("error: write `{}`: {error}", out.display());
        }
    }

    pub fn failed(&self) -> bool {
        let failed = |row: &Row| matches!(row.outcome, Outcome::Failed(_));
        self.rows.is_empty() || self.rows.iter().any(failed)
    }

    /// As a Markdown table below its title.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n| check | result | seen | s |\n|--|--|--|--|\n", self.title);
        for row in &self.rows {
            let (word, seen) = told(&row.outcome);
            let seen = seen.replace('|', "/").replace('\n', "; ");
            text += &format!("| {} | {word} | {seen} | {:.1} |\n", row.name, row.seconds);
        }
        text
    }
}

fn told(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Passed(seen) => ("passed", seen),
        Outcome::Failed(why) => ("**FAILED**", why),
        Outcome::Skipped(why) => ("skipped", why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_or_a_panic_fails_the_table_and_so_does_an_empty_one() {
        let table = || Table::new("t".into(), None, None);
        assert!(table().failed());
        let mut table = table();
        table.row("good", || Ok("1 | 2".into()));
        table.skip("gpu", "no GPU");
        assert!(!table.failed());
        assert!(table.text().contains("| good | passed | 1 / 2 |"));
        table.row("bad", || panic!("on purpose"));
        assert!(table.failed());
        assert!(table.text().contains("| bad | **FAILED** | panicked"));
    }

    #[test]
    fn every_row_is_written_when_it_is_there() {
        let out = tempfile::NamedTempFile::new().unwrap();
        let mut table = Table::new("t".into(), None, Some(out.path().to_owned()));
        table.row("first", || Ok("seen".into()));
        let written = || std::fs::read_to_string(out.path()).unwrap();
        assert_eq!(written(), table.text());
        table.row("second", || {
            assert!(written().contains("| first | passed | seen |"));
            Ok(String::new())
        });
        assert_eq!(written(), table.text());
    }

    #[test]
    fn only_some_rows_are_run_when_asked() {
        let mut table = Table::new("t".into(), Some("parity".into()), None);
        table.row("bench", || Err("not reached".into()));
        table.row("parity of stage 1", || Ok(String::new()));
        assert!(!table.failed());
    }
}
