//! Comparison with tolerances, one printed line per group.

use std::fmt;

use tch::{Kind, Tensor};

/// How far a tensor may be from the recorded one. `max_ref` is the largest |value| of the recorded tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Every value equal.
    Exact,
    /// |a − b| ≤ limit.
    Absolute(f64),
    /// |a − b| ≤ limit · max_ref; the deviation is printed as a fraction of max_ref.
    OfMax(f64),
    /// |a − b| ≤ limit · max(1, max_ref); the deviation is printed as a fraction of that.
    OfMaxOrOne(f64),
    /// |a − b| ≤ factor · max_ref + floor; the deviation is printed as a fraction of the limit.
    OfMaxPlus { factor: f64, floor: f64 },
    /// |a − b| ≤ limit · |b| for each value; the deviation is printed as a fraction of |b|.
    Relative(f64),
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => write!(f, "exact"),
            Self::Absolute(limit) => write!(f, "{limit:e} absolute"),
            Self::OfMax(limit) => write!(f, "{limit:e} * max_ref"),
            Self::OfMaxOrOne(limit) => write!(f, "{limit:e} * max(1, max_ref)"),
            Self::OfMaxPlus { factor, floor } => write!(f, "1 * ({factor:e} * max_ref + {floor:e})"),
            Self::Relative(limit) => write!(f, "{limit:e} relative"),
        }
    }
}

struct Group {
    name: String,
    tolerance: Tolerance,
    worst: f64,
    tensors: usize,
}

/// Collects comparisons; [`Report::finish`] prints and judges them.
pub struct Report {
    fixture: String,
    groups: Vec<Group>,
    violations: Vec<String>,
}

impl Report {
    /// A report whose lines name `fixture`.
    pub fn new(fixture: &str) -> Self {
        Self {
            fixture: fixture.to_owned(),
            groups: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Compares `ours` with the `recorded` tensor `name`, in f64. Shapes must be equal; a NaN on one
    /// side only is a violation.
    pub fn compare(
        &mut self,
        group: &str,
        name: &str,
        ours: &Tensor,
        recorded: &Tensor,
        tolerance: Tolerance,
    ) {
        if ours.size() != recorded.size() {
            self.violations.push(format!(
                "{group}: `{name}` has shape {:?}, recorded {:?}",
                ours.size(),
                recorded.size()
            ));
            return;
        }
        let flat = |t: &Tensor| {
            t.detach()
                .to_device(tch::Device::Cpu)
                .to_kind(Kind::Double)
                .contiguous()
                .view([-1])
        };
        let values = |t: &Tensor| Vec::<f64>::try_from(&flat(t)).expect("a flat f64 tensor converts");
        self.compare_values(group, name, &values(ours), &values(recorded), tolerance);
    }

    /// Compares plain numbers.
    pub fn compare_values(
        &mut self,
        group: &str,
        name: &str,
        ours: &[f64],
        recorded: &[f64],
        tolerance: Tolerance,
    ) {
        if ours.len() != recorded.len() {
            self.violations.push(format!(
                "{group}: `{name}` has {} values, recorded {}",
                ours.len(),
                recorded.len()
            ));
            return;
        }
        let max_ref = recorded.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        let mut worst = 0.0_f64;
        for (&a, &b) in ours.iter().zip(recorded) {
            let gap = if a.is_nan() && b.is_nan() || a == b {
                0.0
            } else {
                (a - b).abs()
            };
            let deviation = match tolerance {
                Tolerance::Exact | Tolerance::Absolute(_) => gap,
                Tolerance::OfMax(_) => ratio(gap, max_ref),
                Tolerance::OfMaxOrOne(_) => gap / max_ref.max(1.0),
                Tolerance::OfMaxPlus { factor, floor } => ratio(gap, factor * max_ref + floor),
                Tolerance::Relative(_) => ratio(gap, b.abs()),
            };
            worst = if deviation.is_nan() {
                f64::INFINITY
            } else {
                worst.max(deviation)
            };
        }
        let limit = match tolerance {
            Tolerance::Exact => 0.0,
            Tolerance::OfMaxPlus { .. } => 1.0,
            Tolerance::Absolute(limit)
            | Tolerance::OfMax(limit)
            | Tolerance::OfMaxOrOne(limit)
            | Tolerance::Relative(limit) => limit,
        };
        let limit = limit * crate::slack();
        if worst > limit {
            self.violations.push(format!(
                "{group}: `{name}` is off by {worst:.3e}, tolerance {tolerance}{}",
                times(crate::slack())
            ));
        }
        match self
            .groups
            .iter_mut()
            .find(|known| known.name == group && known.tolerance == tolerance)
        {
            Some(known) => {
                known.worst = known.worst.max(worst);
                known.tensors += 1;
            }
            None => self.groups.push(Group {
                name: group.to_owned(),
                tolerance,
                worst,
                tensors: 1,
            }),
        }
    }

    /// Prints `parity | fixture | group | max deviation | tolerance` for every group, then panics with
    /// the list of violations if there is any (or if nothing was compared).
    pub fn finish(self) {
        for group in &self.groups {
            println!(
                "parity | {} | {} ({} tensors) | {:.2e} | {}{}",
                self.fixture,
                group.name,
                group.tensors,
                group.worst,
                group.tolerance,
                times(crate::slack())
            );
        }
        assert!(
            self.violations.is_empty(),
            "{}: {} violations\n  {}",
            self.fixture,
            self.violations.len(),
            self.violations.join("\n  ")
        );
        assert!(!self.groups.is_empty(), "{}: nothing was compared", self.fixture);
    }
}

fn times(slack: f64) -> String {
    if slack == 1.0 {
        String::new()
    } else {
        format!(", times {slack}")
    }
}

fn ratio(gap: f64, unit: f64) -> f64 {
    if gap == 0.0 { 0.0 } else { gap / unit }
}
