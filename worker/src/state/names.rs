//! Names of sections and facts of the run state.

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
/// Confusion matrices of evaluated sets.
pub const CONFUSION: &str = "confusion";
