//! Amounts of CPU, memory and disk as Kubernetes writes them.

use std::fmt;
use std::str::FromStr;

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give a number such as 4, 500m, 16Gi or 1.5T")]
pub struct NotAnAmount;

/// A positive quantity, kept as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceAmount {
    text: String,
    value: f64,
}

const SUFFIXES: [(&str, f64); 12] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("", 1.0),
];

impl FromStr for ResourceAmount {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let (number, factor) = SUFFIXES
            .iter()
            .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)))
            .ok_or(NotAnAmount)?;
        let written = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let number: f64 = number.parse().map_err(|_| NotAnAmount)?;
        let value = number * factor;
        if !written || value <= 0.0 {
            return Err(NotAnAmount);
        }
        Ok(Self {
            text: text.to_owned(),
            value,
        })
    }
}

impl ResourceAmount {
    /// `count` times as much, in the same unit.
    #[must_use]
    pub fn times(&self, count: u32) -> Self {
        if count == 1 {
            return self.clone();
        }
        let unit = self
            .text
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &self.text[..self.text.len() - unit.len()];
        let number: f64 = number.parse().expect("an amount begins with a number");
        // No cluster knows less than a billionth, and this is what is left of the rounding of 0.1.
        const FINEST: f64 = 1e9;
        let number = (number * f64::from(count) * FINEST).round() / FINEST;
        Self {
            text: format!("{number}{unit}"),
            value: self.value * f64::from(count),
        }
    }

    /// In units: cores, or bytes.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.value
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ResourceAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_or_refused() {
        let value = |text: &str| text.parse::<ResourceAmount>().map(|amount| amount.value());
        assert_eq!(value("4"), Ok(4.0));
        assert_eq!(value("500m"), Ok(0.5));
        assert_eq!(value("16Gi"), Ok(17_179_869_184.0));
        assert_eq!(value("1.5T"), Ok(1.5e12));
        for wrong in ["", "0", "-1", "4 GB", "Gi", "1e3", "inf", "16gi"] {
            assert_eq!(value(wrong), Err(NotAnAmount), "{wrong}");
        }
    }

    #[test]
    fn amounts_are_multiplied_in_their_unit() {
        let times = |text: &str, count| text.parse::<ResourceAmount>().unwrap().times(count).to_string();
        assert_eq!(times("500m", 8), "4000m");
        assert_eq!(times("16Gi", 8), "128Gi");
        assert_eq!(times("1.5", 4), "6");
        assert_eq!(times("0.1", 3), "0.3");
        assert_eq!(times("1.50", 1), "1.50");
    }
}
