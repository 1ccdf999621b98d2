//! Tensors by which a file of weights says something of itself. The scalars of CLIP checkpoints: that the weights are not of
//! OpenAI's kind, so that whatever is built on them can say so.

/// What the names of all of them begin with.
pub const PREFIX: &str = "ulda.";
/// The weights are seeded and were never trained on images and texts.
pub const UNTRAINED: &str = "ulda.untrained";
/// The weights were trained on generated streets and made robust to changed feature statistics, where PIN acts.
pub const GENERATED_STREETS: &str = "ulda.trained_on_generated_streets";
/// Bytes of a text, JSON: `names` and `colours` of the classes that a segmentation model tells apart, where these are not
/// Cityscapes'.
pub const CLASSES: &str = "ulda.classes";
