//! Where a run lives: who starts its processes, and what lies between them.

use std::fmt;
use std::str::FromStr;

use crate::ChaosError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// The coordinator starts workers on its own host.
    Launched,
    /// As launched, with a proxy in every connection.
    Proxied,
    /// A host each, with a network between them; the harness supervises the workers, as a Kubernetes Job would.
    Nodes,
}

impl Site {
    pub const ALL: [Self; 3] = [Self::Launched, Self::Proxied, Self::Nodes];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Launched => "launched",
            Self::Proxied => "proxied",
            Self::Nodes => "nodes",
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Site {
    type Err = ChaosError;

    fn from_str(text: &str) -> Result<Self, ChaosError> {
        let found = Self::ALL.into_iter().find(|site| site.name() == text);
        found.ok_or_else(|| ChaosError::UnknownSite {
            text: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}
