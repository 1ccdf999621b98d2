//! Dates out of milliseconds since 1970, for people. UTC.

use jiff::Timestamp;

/// "2026-11-23 15:04 UTC".
#[must_use]
pub fn date_text(millis: i64) -> String {
    moment(millis).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// "2026-11-23T15:04:05.678000Z", as log lines have it.
#[must_use]
pub fn rfc3339_text(millis: i64) -> String {
    moment(millis).strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The last moment of the year 9999 stands for all later ones.
fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(date_text(0), "1970-01-01 00:00 UTC");
        assert_eq!(date_text(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!(rfc3339_text(1_795_448_096_007), "2026-11-23T15:34:56.007000Z");
        assert_eq!(date_text(1_795_448_096_000), "2026-11-23 15:34 UTC");
        assert_eq!(date_text(1 << 53), "9999-12-30 22:00 UTC");
    }
}
