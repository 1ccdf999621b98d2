//! The kinds of faults, and where each can be inflicted.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::ChaosError;
use crate::site::Site;

macro_rules! kinds {
    ($($kind:ident = $name:literal),* $(,)?) => {
        /// A fault by name, as reports and `--only` have it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($kind),*
        }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name),*
                }
            }
        }
    };
}

kinds! {
    KillWorker = "kill-worker",
    KillAllWorkers = "kill-all-workers",
    TerminateWorker = "terminate-worker",
    PauseWorker = "pause-worker",
    HangWorker = "hang-worker",
    ExtraWorker = "extra-worker",
    KillCoordinator = "kill-coordinator",
    PauseCoordinator = "pause-coordinator",
    RestartCoordinator = "restart-coordinator",
    KillEverything = "kill-everything",
    TornCheckpoint = "torn-checkpoint",
    CutData = "cut-data",
    StallData = "stall-data",
    CutControl = "cut-control",
    StallControl = "stall-control",
    FullDisk = "full-disk",
    FullJournal = "full-journal",
    LinkDown = "link-down",
    LinkLost = "link-lost",
    CoordinatorLinkDown = "coordinator-link-down",
    KillNode = "kill-node",
    Partition = "partition",
    Storm = "storm",
}

impl Kind {
    /// Whether it can be inflicted there.
    #[must_use]
    pub fn suits(self, site: Site) -> bool {
        match self {
            Self::CutData | Self::StallData | Self::CutControl | Self::StallControl => site == Site::Proxied,
            Self::LinkDown
            | Self::LinkLost
            | Self::CoordinatorLinkDown
            | Self::KillNode
            | Self::Partition
            | Self::Storm => site == Site::Nodes,
            Self::KillWorker
            | Self::KillAllWorkers
            | Self::TerminateWorker
            | Self::PauseWorker
            | Self::HangWorker
            | Self::ExtraWorker
            | Self::KillCoordinator
            | Self::PauseCoordinator
            | Self::RestartCoordinator
            | Self::KillEverything
            | Self::TornCheckpoint
            | Self::FullDisk
            | Self::FullJournal => true,
        }
    }

    /// Whether it takes a small disk that can be filled.
    #[must_use]
    pub fn needs_small_disk(self) -> bool {
        matches!(self, Self::FullDisk | Self::FullJournal)
    }

    /// Whether the run cannot go on in the generation it was in.
    #[must_use]
    pub fn breaks_generation(self) -> bool {
        match self {
            Self::KillWorker
            | Self::KillAllWorkers
            | Self::TerminateWorker
            | Self::HangWorker
            | Self::RestartCoordinator
            | Self::KillEverything
            | Self::TornCheckpoint
            | Self::CutData
            | Self::StallData
            | Self::LinkLost
            | Self::KillNode
            | Self::Partition => true,
            Self::PauseWorker
            | Self::ExtraWorker
            | Self::KillCoordinator
            | Self::PauseCoordinator
            | Self::CutControl
            | Self::StallControl
            | Self::FullDisk
            | Self::FullJournal
            | Self::LinkDown
            | Self::CoordinatorLinkDown
            | Self::Storm => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = ChaosError;

    fn from_str(text: &str) -> Result<Self, ChaosError> {
        let found = Self::ALL.iter().find(|kind| kind.name() == text);
        found.copied().ok_or_else(|| ChaosError::UnknownKind {
            text: text.to_owned(),
            known: Self::ALL
                .iter()
                .map(|kind| kind.name())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }
}

/// What is done, to whom (`victim` counts among those that live at that moment), and for how long where
/// that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub victim: u32,
    pub time: Duration,
    /// Workers that a coordinator is started with, where one is started.
    pub workers: u32,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::RestartCoordinator | Kind::KillEverything | Kind::TornCheckpoint => {
                write!(f, "{} (back with {})", self.kind, self.workers)
            }
            _ if !self.time.is_zero() => write!(f, "{} ({:.1} s)", self.kind, self.time.as_secs_f64()),
            _ => write!(f, "{}", self.kind),
        }
    }
}
