//! The rows that were checked, as they come.

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
    only: Option<String>,
    rows: Vec<Row>,
}

impl Table {
    pub fn new(only: Option<String>) -> Self {
        Self {
            only,
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
    }

    pub fn failed(&self) -> bool {
        let failed = |row: &Row| matches!(row.outcome, Outcome::Failed(_));
        self.rows.is_empty() || self.rows.iter().any(failed)
    }

    /// As a Markdown table below `title`.
    pub fn text(&self, title: &str) -> String {
        let mut text = format!("{title}\n\n| check | result | seen | s |\n|--|--|--|--|\n");
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
        assert!(Table::new(None).failed());
        let mut table = Table::new(None);
        table.row("good", || Ok("1 | 2".into()));
        table.skip("gpu", "no GPU");
        assert!(!table.failed());
        assert!(table.text("t").contains("| good | passed | 1 / 2 |"));
        table.row("bad", || panic!("on purpose"));
        assert!(table.failed());
        assert!(table.text("t").contains("| bad | **FAILED** | panicked"));
    }

    #[test]
    fn only_some_rows_are_run_when_asked() {
        let mut table = Table::new(Some("parity".into()));
        table.row("bench", || Err("not reached".into()));
        table.row("parity of stage 1", || Ok(String::new()));
        assert!(!table.failed());
    }
}
