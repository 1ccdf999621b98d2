//! What a coordinator's log says, line by line.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use ulda_run::{RunEnd, log_event};

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
pub struct LoggedProgress {
    pub stage: String,
    pub step: u64,
    pub steps: u64,
    #[serde(default)]
    pub workers: u64,
    #[serde(default)]
    pub images_per_second: Option<f64>,
    #[serde(default)]
    pub seconds_left: Option<u64>,
    /// Loss terms of `step`, from the line's `loss_…` fields.
    #[serde(skip)]
    pub losses: BTreeMap<String, f64>,
}

impl LoggedProgress {
    fn parse(fields: &Map<String, Value>) -> Option<Self> {
        let progress: Self = serde_json::from_value(Value::Object(fields.clone())).ok()?;
        let losses = fields
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("loss_")?.to_owned(), value.as_f64()?)));
        Some(Self {
            losses: losses.collect(),
            ..progress
        })
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum ClusterLogLine {
    Progress(LoggedProgress),
    Ended(RunEnd),
    /// Anything else, for a person.
    Message {
        level: String,
        text: String,
    },
    /// No JSON: what a program writes that cannot even begin.
    Raw(String),
}

impl ClusterLogLine {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = &for_cluster(text);
        let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) else {
            return Self::Raw(text.to_owned());
        };
        let field = |name: &str| {
            fields
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        match field("event").as_str() {
            log_event::PROGRESS => {
                if let Some(progress) = LoggedProgress::parse(&fields) {
                    return Self::Progress(progress);
                }
            }
            log_event::RUN_ENDED => {
                if let Ok(end) = serde_json::from_value(Value::Object(fields.clone())) {
                    return Self::Ended(end);
                }
            }
            _ => {}
        }
        let message = field("message");
        let own = [
            "message",
            "event",
            "level",
            "timestamp",
            "span",
            "spans",
            "target",
            "exit_code",
        ];
        let details: Vec<String> = fields
            .iter()
            .filter(|(name, value)| !own.contains(&name.as_str()) && !value.is_null())
            .map(|(name, value)| match value {
                Value::String(text) => format!("{name} {text}"),
                other => format!("{name} {other}"),
            })
            .collect();
        let text = match details.is_empty() {
            true => message,
            false => format!("{message}: {}", details.join(", ")),
        };
        Self::Message {
            level: field("level"),
            text,
        }
    }
}

/// What a pod says, for somebody outside: the verbs that it names are those of `coordinator cluster` there.
fn for_cluster(text: &str) -> String {
    let verbs = ["status", "logs", "stop", "resume"].iter();
    verbs.fold(text.to_owned(), |text, verb| {
        text.replace(
            &format!("`coordinator {verb}"),
            &format!("`coordinator cluster {verb}"),
        )
    })
}

/// Why a program ended, out of the last lines it wrote: its last error with the hint, else its last line.
pub(super) fn reason_in(last_lines: &str) -> String {
    let mut errors = String::new();
    let mut last = String::new();
    let mut is_error = false;
    for line in last_lines.lines().filter(|line| !line.trim().is_empty()) {
        let (begins, text) = match ClusterLogLine::parse(line) {
            ClusterLogLine::Raw(text) => match text.strip_prefix("error: ") {
                Some(error) => (true, error.to_owned()),
                None => (text.contains(" panicked at "), text),
            },
            ClusterLogLine::Message { level, text } => {
                is_error = false;
                (level == "ERROR", text)
            }
            ClusterLogLine::Ended(RunEnd::Failed { why, .. }) => (true, why),
            ClusterLogLine::Ended(_) | ClusterLogLine::Progress(_) => {
                is_error = false;
                continue;
            }
        };
        if begins {
            errors.clear();
            is_error = true;
        }
        if is_error {
            errors.push_str(&text);
            errors.push('\n');
        }
        last = text;
    }
    on_one_line(if errors.is_empty() { &last } else { &errors })
}

/// A cause and its hint on one line, for a column of a table.
pub(super) fn on_one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut joined = String::new();
    for line in lines {
        match joined.chars().last() {
            None => {}
            Some(':') => joined.push(' '),
            Some(_) => joined.push_str("; "),
        }
        joined.push_str(line);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulda_run::Exit;

    #[test]
    fn lines_of_a_coordinator_are_understood() {
        let progress = ClusterLogLine::parse(
            r#"{"timestamp":"t","level":"INFO","event":"progress.v1","stage":"adapt","step":5,"steps":10,"workers":2,
            "images_per_second":3.5,"seconds_left":7,"loss_seg":0.5,"loss_total":null,"activity":""}"#,
        );
        let ClusterLogLine::Progress(progress) = progress else {
            panic!("{progress:?}")
        };
        assert_eq!(
            (progress.stage.as_str(), progress.step, progress.workers),
            ("adapt", 5, 2)
        );
        assert_eq!(progress.losses, BTreeMap::from([("seg".to_owned(), 0.5)]));
        assert_eq!(
            ClusterLogLine::parse(
                r#"{"level":"INFO","event":"run-ended.v1","state":"finished","digest":"ab","exit_code":0}"#
            ),
            ClusterLogLine::Ended(RunEnd::Finished { digest: "ab".into() })
        );
        assert_eq!(
            ClusterLogLine::parse(
                r#"{"level":"ERROR","event":"run-ended.v1","state":"failed","why":"no data","exit_code":78}"#
            ),
            ClusterLogLine::Ended(RunEnd::Failed {
                why: "no data".into(),
                exit: Exit::BadInput
            })
        );
        assert_eq!(
            ClusterLogLine::parse(
                r#"{"level":"WARN","message":"worker lost","slot":3,"why":"silent for 20 s"}"#
            ),
            ClusterLogLine::Message {
                level: "WARN".into(),
                text: "worker lost: slot 3, why silent for 20 s".into()
            }
        );
        assert_eq!(
            ClusterLogLine::parse("error: no"),
            ClusterLogLine::Raw("error: no".into())
        );
    }

    #[test]
    fn the_reason_of_an_end_is_the_last_error_with_its_hint() {
        let worker = r#"{"level":"INFO","message":"joined"}
{"timestamp":"t","level":"ERROR","message":"no GPU: the driver is not loaded; hint: take another node","exit_code":78,"target":"ulda_worker"}
"#;
        for (last_lines, reason) in [
            (
                worker,
                "no GPU: the driver is not loaded; hint: take another node",
            ),
            (
                "noise\nerror: `clip.checkpoint`: no such file\n  hint: correct the path\n",
                "`clip.checkpoint`: no such file; hint: correct the path",
            ),
            (
                "thread 'main' panicked at src/a.rs:1:2:\nindex out of bounds\n",
                "thread 'main' panicked at src/a.rs:1:2: index out of bounds",
            ),
            ("loading\nKilled\n", "Killed"),
            (
                "error: the disk is full\n  hint: free some and continue with `coordinator resume`\n",
                "the disk is full; hint: free some and continue with `coordinator cluster resume`",
            ),
            (
                r#"{"level":"ERROR","event":"run-ended.v1","state":"failed","why":"no data","exit_code":78}"#,
                "no data",
            ),
            ("", ""),
        ] {
            assert_eq!(reason_in(last_lines), reason);
        }
    }
}
