//! `chaos`: trains the small configuration again and again under faults, and compares the final bits.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ulda_chaos::fault::Kind;
use ulda_chaos::sequence::{Scope, Sequence};
use ulda_chaos::site::Site;
use ulda_chaos::world::{Binaries, Length, SHARDS, World};
use ulda_chaos::{ChaosError, disk, life, network, offspring, patience, report, shim};

/// Trains a small run under seeded faults: kills, pauses, broken connections and networks, full and torn disks. Every run has
/// to end by itself with the digest of an undisturbed one. Some faults take root, and are left out loudly without it.
#[derive(Debug, Parser)]
#[command(
    name = "chaos",
    version,
    after_help = "Exit codes: 0 all digests are equal · 1 a run failed · 2 wrong usage · 130 interrupted"
)]
struct Arguments {
    /// Runs, with seeds from --seed upwards
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    runs: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exactly these seeds instead
    #[arg(long, value_delimiter = ',', value_name = "SEED,…")]
    seeds: Vec<u64>,
    /// Faults of these kinds only
    #[arg(long, value_delimiter = ',', value_name = "KIND,…", value_parser = parse_kind)]
    only: Vec<Kind>,
    /// Runs on these sites only: launched, proxied, nodes
    #[arg(long, value_delimiter = ',', value_name = "SITE,…", value_parser = parse_site)]
    on: Vec<Site>,
    /// Steps of pretrain and of adapt
    #[arg(long, default_value_t = 40, value_name = "COUNT")]
    steps: u64,
    /// Source batches of simulate
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    batches: u64,
    /// A run that takes longer has failed, seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    deadline: u64,
    /// Work in this folder and leave it, instead of a temporary one
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

fn parse_kind(text: &str) -> Result<Kind, ChaosError> {
    text.parse()
}

fn parse_site(text: &str) -> Result<Site, ChaosError> {
    text.parse()
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if std::env::var_os(shim::WORKER).is_some() {
        let Err(error) = shim::become_worker(&words);
        eprintln!("chaos: {error:#}");
        return ExitCode::FAILURE;
    }
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            offspring::end_all();
            eprintln!("chaos: {error:#}");
            let interrupted = matches!(error.downcast_ref(), Some(ChaosError::Interrupted));
            ExitCode::from(if interrupted { 130 } else { 1 })
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    patience::listen_for_interrupts();
    offspring::adopt_orphans();
    match &arguments.keep {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            lives(arguments, &folder.canonicalize()?)
        }
        None => lives(arguments, tempfile::tempdir()?.path()),
    }
}

/// What can be inflicted on this machine; what cannot is told.
fn scope(arguments: &Arguments, world: &World) -> Scope {
    let mut sites = match arguments.on.as_slice() {
        [] => Site::ALL.to_vec(),
        sites => sites.to_vec(),
    };
    let names = |wanted: &dyn Fn(Kind) -> bool| {
        let kinds = Kind::ALL.iter().copied().filter(|kind| wanted(*kind));
        kinds.map(Kind::name).collect::<Vec<_>>().join(", ")
    };
    if sites.contains(&Site::Nodes)
        && let Err(cause) = network::can_build()
    {
        sites.retain(|site| *site != Site::Nodes);
        let left_out = names(&|kind| !kind.suits(Site::Launched) && !kind.suits(Site::Proxied));
        println!("SKIPPED runs on nodes ({left_out}): network namespaces and TUN devices take root: {cause}");
    }
    let can_mount = disk::can_mount();
    if !can_mount {
        println!(
            "SKIPPED {}: mounting a tmpfs takes root",
            names(&Kind::needs_small_disk)
        );
    }
    Scope {
        steps: world.steps(),
        shards: SHARDS,
        only: arguments.only.clone(),
        sites,
        can_mount,
    }
}

fn lives(arguments: &Arguments, folder: &Path) -> anyhow::Result<bool> {
    let binaries = Binaries::beside(&std::env::current_exe()?)?;
    let length = Length {
        steps: arguments.steps,
        batches: arguments.batches,
    };
    let world = World::make(folder, binaries, length)?;
    println!(
        "undisturbed: {} steps in {:.1} s, digest {}",
        world.steps(),
        world.undisturbed.as_secs_f64(),
        world.digest.split(' ').next().unwrap_or_default()
    );
    let scope = scope(arguments, &world);
    let seeds = match arguments.seeds.as_slice() {
        [] => (arguments.seed..)
            .take(usize::try_from(arguments.runs)?)
            .collect(),
        seeds => seeds.to_vec(),
    };
    let started = Instant::now();
    let mut failed = Vec::new();
    let (mut recoveries, mut inflicted) = (Vec::new(), Vec::new());
    for seed in &seeds {
        let sequence = Sequence::draw(*seed, &scope).ok_or(ChaosError::NothingPossible)?;
        let verdict = life::live(&world, &sequence, Duration::from_secs(arguments.deadline))?;
        println!("{}", report::line(&sequence, &verdict));
        if verdict.fault.is_some() {
            failed.push(*seed);
        }
        recoveries.extend(verdict.recoveries);
        inflicted.extend(verdict.inflicted);
    }
    print!("\n{}", report::summary(&recoveries, &inflicted));
    println!(
        "{} of {} digests equal, {} faults, {:.0} s",
        seeds.len() - failed.len(),
        seeds.len(),
        inflicted.len(),
        started.elapsed().as_secs_f64()
    );
    if !failed.is_empty() {
        println!(
            "failed seeds: {failed:?}; one again, with its files: chaos --seeds {} --keep FOLDER",
            failed[0]
        );
    }
    Ok(failed.is_empty())
}
