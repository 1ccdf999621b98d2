//! Names of sections and facts of the run state.

use ulda_run::stage::Stage;

/// The source-only head, after pretrain or from a published checkpoint.
pub const SOURCE: &str = "source";
/// The head being trained.
pub const HEAD: &str = "head";
/// Momentum of everything being trained.
pub const MOMENTUM: &str = "momentum";
/// Projectors by domain number.
pub const PROJECTOR: &str = "projector";
pub const RECTIFIER: &str = "rectifier";
/// The head being trained that scored highest on the source's validation images; adapt's stays when it is done.
pub const BEST: &str = "best";
/// The adapted head after the last step.
pub const ADAPTED: &str = "adapted";
/// The style bank as the bytes of its file.
pub const BANK: &str = "bank";
/// mIoU of `BEST`.
pub const BEST_MIOU: &str = "best_miou";
/// Steps that a training of the authors' scripts had done before `stage` went on with it.
#[must_use]
pub fn steps_before(stage: Stage) -> String {
    format!("steps_before.{stage}")
}

/// Confusion matrices of evaluated sets.
pub const CONFUSION: &str = "confusion";

/// Before the rounds in the name of a section.
const ROUNDS: &str = "rounds-";

/// The styles of the rounds from `first` to `end`, which is not among them, as the bytes of a bank's file.
#[must_use]
pub fn rounds(first: u64, end: u64) -> String {
    format!("{ROUNDS}{first:08}-{end:08}.bank")
}

/// The first round and the end in a name that [`rounds`] made.
#[must_use]
pub fn rounds_of(name: &str) -> Option<(u64, u64)> {
    let span = name.strip_prefix(ROUNDS)?.strip_suffix(".bank")?;
    let (first, end) = span.split_once('-')?;
    Some((first.parse().ok()?, end.parse().ok()?))
}

/// Whether most steps leave a section as it is: checkpoints keep it in a file of its own, which the next one shares.
#[must_use]
pub fn is_settled(section: &str) -> bool {
    matches!(section, SOURCE | BEST | ADAPTED | BANK) || section.starts_with(ROUNDS)
}
