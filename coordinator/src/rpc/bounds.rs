//! What a field of a message may hold. Whatever came over the wire passes one of these functions before anything is
//! computed with it or written down; beyond the bounds nothing fits a journal row, a duration or a sum.

use ulda_dataset::ConfusionMatrix;
use ulda_proto::v1;
use ulda_run::clip::ClipOrigin;
use ulda_run::ids::{Generation, Shard, Slot};
use ulda_run::spec::{PathName, PathNameError, RunSpec};
use ulda_run::stage::{Course, Stage};
use ulda_run::style_health::StyleHealth;
use ulda_run::{Digest, StateClaim, UnknownName};

use super::refusal::Refusal;

/// Longest text that names something: a device, a loss, a model, a digest, an address.
const NAME_BYTES: usize = 256;
/// Longest path, as the kernel has it.
const PATH_BYTES: usize = 4096;
/// Longer sentences are cut.
const SENTENCE_BYTES: usize = 8192;
/// Images, bytes, pixels of a cell: floats and SQLite hold these without loss, and sums of many fit.
const MOST_COUNT: u64 = 1 << 48;
/// Terms, generations, milliseconds since 1970: each has room for its successors.
const MOST_NUMBER: u64 = 1 << 53;
/// Thirty years.
const MOST_SECONDS: f64 = 1e9;
/// Slots of workers that others start.
const MOST_SLOTS: u32 = 1 << 16;
/// Named values of one kind in one message.
const MOST_VALUES: usize = 256;

/// One named value.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub name: String,
    pub value: f64,
}

impl Measured {
    #[must_use]
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        let name = name.into();
        Self { name, value }
    }
}

/// Bounds that differ from run to run.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    course: Course,
    shards: u32,
    classes: usize,
}

impl Bounds {
    pub fn of(spec: &RunSpec) -> Self {
        Self {
            course: spec.course(),
            shards: spec.shards(),
            classes: spec.classes().len(),
        }
    }

    pub fn state(&self, claim: Option<v1::StateClaim>) -> Result<Option<StateClaim>, Refusal> {
        claim.map(|claim| self.claim(claim)).transpose()
    }

    /// A state at a position within the run.
    fn claim(&self, claim: v1::StateClaim) -> Result<StateClaim, Refusal> {
        // Errors repeat the stage's name, so its length is checked first.
        check_line("state.stage", &claim.stage, NAME_BYTES)?;
        let claim = StateClaim::try_from(claim)
            .map_err(|cause: UnknownName| malformed("state.stage", cause.to_string()))?;
        let (stage, step) = (claim.cursor.stage, claim.cursor.step);
        let steps = self.course.steps(stage);
        if step > steps {
            let reason = format!("is {step}, and {stage} has {steps} steps in this run");
            return Err(malformed("state.step", reason));
        }
        check_line("state.digest", &claim.digest.0, NAME_BYTES)?;
        Ok(claim)
    }

    /// A position that has to be there, and the state's digest.
    pub fn place(&self, claim: Option<v1::StateClaim>) -> Result<StateClaim, Refusal> {
        self.state(claim)?.ok_or(malformed("state", "is missing"))
    }

    pub fn shards(&self, field: &'static str, shards: Vec<u32>) -> Result<Vec<Shard>, Refusal> {
        let most = self.shards;
        if shards.len() > most as usize || shards.iter().any(|shard| *shard >= most) {
            return Err(malformed(
                field,
                format!("names a shard twice or one beyond the run's {most}"),
            ));
        }
        Ok(shards.into_iter().map(Shard).collect())
    }

    /// Pixel counts of the run's classes.
    pub fn confusion(&self, cells: &[u64]) -> Result<ConfusionMatrix, Refusal> {
        let wanted = self.classes * self.classes;
        if cells.len() != wanted {
            let reason = format!("has {} cells, not {wanted}", cells.len());
            return Err(malformed("confusion", reason));
        }
        for cell in cells {
            count("confusion", *cell)?;
        }
        ConfusionMatrix::from_counts(cells).map_err(|cause| malformed("confusion", cause.to_string()))
    }
}

fn malformed(field: &'static str, reason: impl Into<String>) -> Refusal {
    let told = reason.into();
    Refusal::Malformed { field, reason: told }
}

fn at_most<T: PartialOrd + std::fmt::Display>(field: &'static str, value: T, most: T) -> Result<T, Refusal> {
    if value > most {
        return Err(malformed(
            field,
            format!("is {value}, and at most {most} is believed"),
        ));
    }
    Ok(value)
}

pub(super) fn count(field: &'static str, value: u64) -> Result<u64, Refusal> {
    at_most(field, value, MOST_COUNT)
}

pub(super) fn number(field: &'static str, value: u64) -> Result<u64, Refusal> {
    at_most(field, value, MOST_NUMBER)
}

pub(super) fn generation(value: u64) -> Result<Generation, Refusal> {
    number("generation", value).map(Generation)
}

pub(super) fn slot(value: u32) -> Result<Slot, Refusal> {
    at_most("slot", value, MOST_SLOTS - 1).map(Slot)
}

pub(super) fn exit_code(value: i32) -> Result<i32, Refusal> {
    if u8::try_from(value).is_err() {
        return Err(malformed("exit_code", format!("is {value}, not 0 to 255")));
    }
    Ok(value)
}

pub(super) fn seconds(field: &'static str, value: f64) -> Result<f64, Refusal> {
    if !(0.0..=MOST_SECONDS).contains(&value) {
        return Err(malformed(field, format!("is {value} s, not 0 to {MOST_SECONDS}")));
    }
    Ok(value)
}

/// A text of one line that names something; may be empty.
pub(super) fn text(field: &'static str, text: String) -> Result<String, Refusal> {
    one_line(field, text, NAME_BYTES)
}

pub(super) fn path(field: &'static str, text: String) -> Result<String, Refusal> {
    one_line(field, text, PATH_BYTES)
}

pub(super) fn name(field: &'static str, name: String) -> Result<String, Refusal> {
    if name.is_empty() {
        return Err(malformed(field, "is empty"));
    }
    text(field, name)
}

fn one_line(field: &'static str, text: String, most: usize) -> Result<String, Refusal> {
    check_line(field, &text, most)?;
    Ok(text)
}

fn check_line(field: &'static str, text: &str, most: usize) -> Result<(), Refusal> {
    if text.len() > most {
        let reason = format!("has {} bytes, and {most} are allowed", text.len());
        return Err(malformed(field, reason));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(found) => Err(malformed(field, format!("holds `{}`", found.escape_debug()))),
        None => Ok(()),
    }
}

pub(super) fn digest(field: &'static str, digest: String) -> Result<Digest, Refusal> {
    text(field, digest).map(Digest)
}

pub(super) fn clip(weights: v1::ClipWeights) -> Result<ClipOrigin, Refusal> {
    let training = text("clip.training", weights.training)?;
    Ok(ClipOrigin {
        digest: text("clip.digest", weights.digest)?,
        training: training
            .parse()
            .map_err(|cause: UnknownName| malformed("clip.training", cause.to_string()))?,
    })
}

pub(super) fn path_name(field: &'static str, text: &str) -> Result<PathName, Refusal> {
    text.parse()
        .map_err(|cause: PathNameError| malformed(field, cause.to_string()))
}

/// What a person reads: cut where it is too long, since what went wrong matters more than its length.
pub(super) fn sentence(mut text: String) -> String {
    if text.len() > SENTENCE_BYTES {
        text.truncate(text.floor_char_boundary(SENTENCE_BYTES));
        text.push('…');
    }
    text
}

/// The beginning of a text that is only repeated to its sender.
pub(super) fn echo(text: &str) -> String {
    text[..text.floor_char_boundary(NAME_BYTES)].to_owned()
}

pub(super) fn stage(field: &'static str, name: &str) -> Result<Stage, Refusal> {
    text(field, name.to_owned())?
        .parse()
        .map_err(|cause: UnknownName| malformed(field, cause.to_string()))
}

/// host:port; no name is looked up.
pub(super) fn address(field: &'static str, address: String) -> Result<String, Refusal> {
    let address = text(field, address)?;
    let (host, port) = address.rsplit_once(':').unwrap_or_default();
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(malformed(field, format!("is `{address}`, not host:port")));
    }
    Ok(address)
}

/// Named values; a loss or a rate may have left the finite numbers, which a run has to show.
pub(super) fn measured(field: &'static str, values: Vec<v1::Value>) -> Result<Vec<Measured>, Refusal> {
    at_most(field, values.len(), MOST_VALUES)?;
    let measured = values.into_iter().map(|value| {
        Ok(Measured {
            name: name(field, value.name)?,
            value: value.value,
        })
    });
    measured.collect()
}

/// Health of the styles of some domains; as with losses, a measure may not be finite.
pub(super) fn styles(domains: Vec<v1::DomainStyles>) -> Result<Vec<(String, StyleHealth)>, Refusal> {
    at_most("styles", domains.len(), MOST_VALUES)?;
    let of_domain = |domain: v1::DomainStyles| {
        let values = measured("styles.health", domain.health)?;
        let of = |name: &str| {
            values
                .iter()
                .find(|value| value.name == name)
                .map(|value| value.value)
        };
        let health = StyleHealth::from_measures(of);
        Ok((
            name("styles.domain", domain.domain)?,
            health.ok_or(malformed("styles.health", "lacks a measure"))?,
        ))
    };
    domains.into_iter().map(of_domain).collect()
}

/// Named values that are times.
pub(super) fn times(field: &'static str, values: Vec<v1::Value>) -> Result<Vec<Measured>, Refusal> {
    let measured = measured(field, values)?;
    for value in &measured {
        seconds(field, value.value)?;
    }
    Ok(measured)
}
