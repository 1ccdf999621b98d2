//! Names of things that must not be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* pub struct $name:ident($inner:ty), $shown:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($shown, " {}"), self.0)
            }
        }
    };
}

number!(
    /// One process that joined a run. Never used twice within a run.
    pub struct WorkerId(u64),
    "worker"
);
number!(
    /// The place a worker was started for (local slot, job completion index); outlives the process.
    pub struct Slot(u32),
    "slot"
);
number!(
    /// A logical rank: one slice of every batch, with its own random streams and gradient.
    pub struct Shard(u32),
    "shard"
);
number!(
    /// One membership of the data plane. Grows with every forming.
    pub struct Generation(u64),
    "generation"
);

impl Generation {
    /// Before the first membership was formed.
    pub const NONE: Self = Self(0);

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
