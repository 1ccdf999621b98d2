//! The kinds of operations on the data plane. Codes travel; they never change meaning within a release.

/// One kind of collective operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    StateHolders,
    StateCheck,
    StateHandOver,
    TextEmbeddings,
    ValidPixels,
    NormForward,
    NormBackward,
    GradientBucket,
    Loss,
    IdleBuffers,
    Prototypes,
    ProjectorGradient,
    RoundResult,
    Pulse,
    Confusion,
    FinalModels,
    Offers,
    NcclId,
    NcclFormed,
}

impl Op {
    pub(super) fn named(self) -> ulda_collective::OperationName {
        let (code, name) = match self {
            Self::StateHolders => (14, "who holds the state"),
            Self::StateCheck => (1, "state check"),
            Self::StateHandOver => (2, "state hand-over"),
            Self::TextEmbeddings => (3, "text embeddings"),
            Self::ValidPixels => (4, "count of labelled pixels"),
            Self::NormForward => (5, "batch statistics from layer"),
            Self::NormBackward => (6, "batch statistics' gradient from layer"),
            Self::GradientBucket => (7, "gradient bucket"),
            Self::Loss => (8, "loss"),
            Self::IdleBuffers => (13, "buffers for idle shards"),
            Self::Prototypes => (9, "prototypes"),
            Self::ProjectorGradient => (10, "projector gradient of domain"),
            Self::Pulse => (15, "pace of iterations"),
            Self::RoundResult => (11, "styles and projectors"),
            Self::Confusion => (12, "confusion matrix"),
            Self::FinalModels => (16, "finished models in their place"),
            Self::Offers => (17, "what each worker has for sums"),
            Self::NcclId => (18, "NCCL's unique id"),
            Self::NcclFormed => (19, "whether NCCL formed"),
        };
        ulda_collective::OperationName { code, name }
    }
}
