//! Everything that can be found wrong before the first step, found at once.

mod data;
mod finding;
mod pictures;
mod space;
mod storage;
mod worker;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ulda_run::spec::{RunSpec, SpecProblems, is_url};
use ulda_run::{Finding, HostAdvice};

use crate::config::KeyPlaces;
use finding::finding;

pub use finding::Findings;
pub use space::DiskNeed;
pub use ulda_dataset::Depth;
pub(crate) use worker::spec_file;

/// What to look at besides the run's own rules.
#[derive(Clone, Debug)]
pub struct Extent {
    pub depth: Depth,
    /// `None`: workers come from elsewhere and check their own files.
    pub worker_binary: Option<PathBuf>,
    /// Workers that will share this host.
    pub workers: u32,
    /// `None`: the address is bound already.
    pub listen: Option<SocketAddr>,
}

/// How a run is looked at before it starts.
#[derive(Clone, Debug)]
pub struct Examination {
    pub depth: Depth,
    /// Where its keys stand.
    pub places: KeyPlaces,
}

/// All findings on a configuration that broke the run's own rules.
#[must_use]
pub fn of_problems(problems: SpecProblems) -> Findings {
    Findings(
        problems
            .0
            .into_iter()
            .map(|problem| Finding::new(problem.key, problem.what, problem.hint))
            .collect(),
    )
}

/// What an examination gives.
#[derive(Debug, Default)]
pub struct Examined {
    pub findings: Findings,
    /// What the worker says that this host should do, where it was asked.
    pub advice: Option<HostAdvice>,
}

/// Looks at data, disk, port, storage, worker binary and, through the worker, checkpoints.
pub async fn examine(spec: &RunSpec, extent: &Extent) -> Examined {
    let mut findings = Vec::new();
    findings.extend(space::findings(spec));
    if let Some(address) = extent.listen
        && let Err(cause) = crate::rpc::bind(address).await
    {
        findings.push(finding("--listen", &cause, cause.hint()));
    }
    let (owned, depth) = (spec.clone(), extent.depth);
    let looked = tokio::task::spawn_blocking(move || {
        let look = storage::look(&owned);
        let mut data = data::findings(&owned, &look.config, depth);
        data.extend(pictures::findings(&look.config, depth));
        (look, data)
    });
    let (stored, clip) = match looked.await {
        Ok((look, data)) => {
            findings.extend(data);
            (look.findings, clip_exists(&look.config.clip.checkpoint))
        }
        Err(cause) => {
            let what = format!("the audit ended early: {cause}");
            findings.push(Finding::new("data", what, ""));
            (Vec::new(), None)
        }
    };
    // Without its storage, the worker could only say the same again.
    let of_worker = match &extent.worker_binary {
        Some(binary) if stored.is_empty() => worker::said(spec, binary, extent.workers).await,
        Some(_) | None => worker::Said::default(),
    };
    // The worker tells of a missing file too; once is enough.
    findings.extend(
        of_worker
            .findings
            .into_iter()
            .filter(|finding| clip.as_ref().is_none_or(|clip| clip.key != finding.key)),
    );
    findings.extend(clip);
    findings.extend(stored);
    Examined {
        findings: Findings(findings),
        advice: of_worker.advice,
    }
}

fn clip_exists(path: &Path) -> Option<Finding> {
    let wrong = if path.is_dir() {
        "is a folder"
    } else if path.exists() {
        "is a pipe or a device, not a file"
    } else {
        "does not exist"
    };
    (!is_url(path) && !path.is_file()).then(|| {
        Finding::new(
            "clip.checkpoint",
            format!("`{}` {wrong}", path.display()),
            "name OpenAI's RN50.pt or a safetensors of the same names",
        )
    })
}
