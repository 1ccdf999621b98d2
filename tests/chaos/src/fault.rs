//! The kinds of faults.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::ChaosError;

/// A fault by name, as reports and `--only` have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    KillWorker,
    KillAllWorkers,
    TerminateWorker,
    PauseWorker,
    HangWorker,
    ExtraWorker,
    KillCoordinator,
    PauseCoordinator,
    RestartCoordinator,
    KillEverything,
    CutData,
    StallData,
    CutControl,
    StallControl,
    FullDisk,
}

impl Kind {
    pub const ALL: [Self; 15] = [
        Self::KillWorker,
        Self::KillAllWorkers,
        Self::TerminateWorker,
        Self::PauseWorker,
        Self::HangWorker,
        Self::ExtraWorker,
        Self::KillCoordinator,
        Self::PauseCoordinator,
        Self::RestartCoordinator,
        Self::KillEverything,
        Self::CutData,
        Self::StallData,
        Self::CutControl,
        Self::StallControl,
        Self::FullDisk,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KillWorker => "kill-worker",
            Self::KillAllWorkers => "kill-all-workers",
            Self::TerminateWorker => "terminate-worker",
            Self::PauseWorker => "pause-worker",
            Self::HangWorker => "hang-worker",
            Self::ExtraWorker => "extra-worker",
            Self::KillCoordinator => "kill-coordinator",
            Self::PauseCoordinator => "pause-coordinator",
            Self::RestartCoordinator => "restart-coordinator",
            Self::KillEverything => "kill-everything",
            Self::CutData => "cut-data",
            Self::StallData => "stall-data",
            Self::CutControl => "cut-control",
            Self::StallControl => "stall-control",
            Self::FullDisk => "full-disk",
        }
    }

    /// Whether the proxies have to stand in the wires for it.
    #[must_use]
    pub fn needs_wires(self) -> bool {
        matches!(
            self,
            Self::CutData | Self::StallData | Self::CutControl | Self::StallControl
        )
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
            | Self::CutData
            | Self::StallData => true,
            Self::PauseWorker
            | Self::ExtraWorker
            | Self::KillCoordinator
            | Self::PauseCoordinator
            | Self::CutControl
            | Self::StallControl
            | Self::FullDisk => false,
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
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| ChaosError::UnknownKind {
            text: text.to_owned(),
            known: known(),
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
            Kind::RestartCoordinator | Kind::KillEverything => {
                write!(f, "{} (back with {})", self.kind, self.workers)
            }
            Kind::PauseWorker
            | Kind::PauseCoordinator
            | Kind::KillCoordinator
            | Kind::StallData
            | Kind::StallControl
            | Kind::FullDisk => write!(f, "{} ({:.1} s)", self.kind, self.time.as_secs_f64()),
            Kind::KillWorker
            | Kind::KillAllWorkers
            | Kind::TerminateWorker
            | Kind::HangWorker
            | Kind::ExtraWorker
            | Kind::CutData
            | Kind::CutControl => write!(f, "{}", self.kind),
        }
    }
}
