//! From when on lines of a log are shown.

use std::str::FromStr;
use std::time::Duration;

use crate::journal::wall_millis;
use crate::report::rfc3339_text;

/// The earliest time of lines to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// Before now.
    Ago(Duration),
    /// RFC 3339, UTC.
    Time(String),
}

#[derive(Debug, thiserror::Error)]
#[error("give an age such as 90s, 10m, 2h or 1d, or a time such as 2026-11-26T19:24:00Z")]
pub struct NotATime;

impl FromStr for Since {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let is_time = text.len() >= 19
            && text.as_bytes()[10] == b'T'
            && text.starts_with(|first: char| first.is_ascii_digit());
        if is_time {
            return Ok(Self::Time(text.trim_end_matches('Z').to_owned()));
        }
        let unit = text.chars().last().ok_or(NotATime)?;
        let seconds = match unit {
            's' => 1.0,
            'm' => 60.0,
            'h' => 3600.0,
            'd' => 86_400.0,
            _ => return Err(NotATime),
        };
        let count: f64 = text[..text.len() - 1].parse().map_err(|_| NotATime)?;
        let ago = Duration::try_from_secs_f64(count * seconds).map_err(|_| NotATime)?;
        Ok(Self::Ago(ago))
    }
}

impl Since {
    pub fn time(&self) -> String {
        match self {
            Self::Time(time) => time.clone(),
            Self::Ago(ago) => {
                let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
                rfc3339_text(wall_millis().saturating_sub(ago))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_times_are_read() {
        let ago = |seconds| Some(Since::Ago(Duration::from_secs(seconds)));
        for (text, read) in [
            ("90s", ago(90)),
            ("1.5h", ago(5400)),
            ("2d", ago(172_800)),
            (
                "2026-11-26T19:24:00Z",
                Some(Since::Time("2026-11-26T19:24:00".into())),
            ),
            ("10", None),
            ("", None),
            ("-5m", None),
            ("yesterday", None),
        ] {
            assert_eq!(text.parse::<Since>().ok(), read, "{text}");
        }
    }
}
