//! One line of a worker's log, as a person reads it.

use std::fmt;

use clap::ValueEnum;
use console::{Style, style};
use serde_json::{Map, Value};

use crate::printable::printable;

/// How loud a line is; the loudest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    fn of(name: &str) -> Option<Self> {
        <Self as ValueEnum>::from_str(name, true).ok()
    }

    fn style(self) -> Style {
        match self {
            Self::Error => Style::new().red().bold(),
            Self::Warn => Style::new().yellow(),
            Self::Info => Style::new().green(),
            Self::Debug | Self::Trace => Style::new().dim(),
        }
    }
}

/// A line with what can be told apart in it. Lines that are not JSON, such as a library's, have only their text.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    pub slot: u32,
    /// As written.
    pub text: String,
    /// RFC 3339, UTC; empty where the line has none. Such times sort as text.
    pub time: String,
    pub level: Option<LogLevel>,
    event: Option<Map<String, Value>>,
}

/// Keys that have a place of their own in a line.
const PLACED: [&str; 8] = [
    "timestamp",
    "level",
    "message",
    "target",
    "span",
    "spans",
    "threadId",
    "threadName",
];

impl LogLine {
    /// A line of the worker in `slot`.
    #[must_use]
    pub fn parse(slot: u32, text: &str) -> Self {
        let event = match serde_json::from_str(text) {
            Ok(Value::Object(event)) => Some(event),
            Ok(_) | Err(_) => None,
        };
        let word = |key: &str| Some(event.as_ref()?.get(key)?.as_str()?.to_owned());
        Self {
            slot,
            text: text.to_owned(),
            time: word("timestamp").unwrap_or_default(),
            level: word("level").and_then(|name| LogLevel::of(&name)),
            event,
        }
    }

    /// Fields of the spans around an event, outermost first; of a field that occurs twice, the innermost counts.
    fn places(event: &Map<String, Value>) -> Map<String, Value> {
        let mut places = Map::new();
        let spans = event.get("spans").and_then(Value::as_array);
        for span in spans.into_iter().flatten().filter_map(Value::as_object) {
            for (key, value) in span.iter().filter(|(key, _)| *key != "name") {
                places.insert(key.clone(), value.clone());
            }
        }
        places
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = style(format!("worker-{}", self.slot)).cyan();
        let Some(event) = &self.event else {
            return write!(f, "{who} {}", printable(&self.text));
        };
        let time = self.time.get(11..23).unwrap_or(&self.time);
        write!(f, "{} ", style(time).dim())?;
        if let Some(level) = self.level {
            let name = format!("{level:?}").to_uppercase();
            write!(f, "{:<5} ", level.style().apply_to(name))?;
        }
        write!(f, "{who}")?;
        let places = Self::places(event);
        for (key, short) in [("generation", "g"), ("shard", "s")] {
            if let Some(value) = places.get(key) {
                write!(f, " {}", style(format!("{short}{}", shown(value))).dim())?;
            }
        }
        if let Some(message) = event.get("message") {
            write!(f, " {}", shown(message))?;
        }
        for (key, value) in event.iter().filter(|(key, _)| !PLACED.contains(&key.as_str())) {
            write!(f, " {}{}", style(format!("{key}=")).dim(), shown(value))?;
        }
        Ok(())
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text).into_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_when_who_and_what() {
        console::set_colors_enabled(false);
        let text = r#"{"timestamp":"2026-11-26T19:24:21.123456Z","level":"WARN","message":"generation broke","error":"cut","target":"a","spans":[{"run":"small","slot":1,"worker":4,"name":"worker"},{"generation":3,"name":"generation"},{"shard":2,"name":"shard"}]}"#;
        let line = LogLine::parse(1, text);
        assert_eq!(line.level, Some(LogLevel::Warn));
        assert_eq!(
            line.to_string(),
            "19:24:21.123 WARN  worker-1 g3 s2 generation broke error=cut"
        );
        let line = LogLine::parse(
            1,
            r#"{"level":"WARN","message":"a\u001b[2Jb","path":"c\u001b[0m"}"#,
        );
        assert!(!line.to_string().contains('\u{1b}'), "{line:?}");
        let other = LogLine::parse(0, "libtorch\u{1b}[2J says");
        assert_eq!(other.to_string(), "worker-0 libtorch\\u{1b}[2J says");
        let other = LogLine::parse(0, "libtorch says something");
        assert_eq!(other.to_string(), "worker-0 libtorch says something");
        assert!(LogLevel::Error < LogLevel::Info);
    }
}
