//! Durations as people read them.

use std::time::Duration;

/// "3 s", "4 min 10 s", "2 h 05 min".
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 if duration.as_secs_f64() < 10.0 => format!("{:.1} s", duration.as_secs_f64()),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let text = |seconds| duration_text(Duration::from_secs_f64(seconds));
        assert_eq!(
            [text(2.34), text(42.0), text(250.0), text(7500.0)],
            ["2.3 s", "42 s", "4 min 10 s", "2 h 05 min"]
        );
    }
}
