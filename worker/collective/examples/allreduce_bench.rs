//! Times all-reduces between processes on this machine.
//!
//! `allreduce_bench [WORKERS[,WORKERS…]] [SHARDS_PER_WORKER] [tcp|tls]` starts that many copies of itself for each
//! number (2,4,8 by default) and prints the median time of an all-reduce over all shards, by buffer size; with
//! `tls`, over encrypted connections, with `tcp`, without shared memory.
//! It has no exit status other than 0 but for failures.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ulda_collective::{
    Collective, CollectiveError, DataPlane, DataPlaneListener, Membership, OperationName, PlaneDeadlines,
    Rank, RunId, Secret, ShardGroup, Sharing, StageName, Tag, Tls, WorkerIndex, WorkerPeer,
};
use ulda_run::ids::Generation;

/// Buffer sizes in bytes, with how often each is timed.
const SIZES: [(usize, u64); 5] = [
    (1 << 10, 400),
    (32 << 10, 200),
    (1 << 20, 60),
    (16 << 20, 15),
    (64 << 20, 9),
];

/// Stands where a folder of keys would.
const WITHOUT_BOARDS: &str = "tcp";

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("worker") => serve(&arguments[1..]),
        _ => compare(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &[String]) -> Result<(), Failure> {
    let counts = arguments.first().map_or("2,4,8", String::as_str);
    let shards_per_worker: u32 = arguments.get(1).map_or(Ok(1), |count| count.parse())?;
    let folder = tempfile::tempdir()?;
    let way = match arguments.get(2).map(String::as_str) {
        Some("tls") => {
            ulda_credentials::issue::create(folder.path(), &[])?;
            Some(folder.path())
        }
        Some("tcp") => Some(Path::new(WITHOUT_BOARDS)),
        _ => None,
    };
    println!("| workers | shards | bytes | median | best |\n|--|--|--|--|--|");
    for count in counts.split(',') {
        let workers: u32 = count.parse()?;
        let table = mesh(workers, shards_per_worker, way)?;
        for (size, times) in SIZES.iter().zip(table.lines()) {
            println!(
                "| {workers} | {} | {} | {times} |",
                workers * shards_per_worker,
                size.0
            );
        }
    }
    Ok(())
}

/// Runs one set of processes; what the first of them prints.
fn mesh(workers: u32, shards_per_worker: u32, way: Option<&Path>) -> Result<String, Failure> {
    let program = std::env::current_exe()?;
    let start = |index: u32| -> Result<Child, Failure> {
        let numbers = [index, workers, shards_per_worker].map(|number| number.to_string());
        let mut command = Command::new(&program);
        let command = command
            .arg("worker")
            .args(numbers)
            .args(way)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Ok(command.spawn()?)
    };
    let mut children = (0..workers).map(start).collect::<Result<Vec<Child>, Failure>>()?;
    let mut readers = Vec::new();
    let mut addresses = String::new();
    for child in &mut children {
        let mut reader = BufReader::new(child.stdout.take().ok_or("a worker has no stdout")?);
        reader.read_line(&mut addresses)?;
        readers.push(reader);
    }
    for child in &mut children {
        child
            .stdin
            .take()
            .ok_or("a worker has no stdin")?
            .write_all(addresses.as_bytes())?;
    }
    let mut table = String::new();
    for (place, reader) in readers.into_iter().enumerate() {
        let lines = reader.lines().collect::<Result<Vec<String>, _>>()?;
        if place == 0 {
            table = lines.join("\n");
        }
    }
    for mut child in children {
        if !child.wait()?.success() {
            return Err("a worker failed".into());
        }
    }
    Ok(table)
}

fn serve(arguments: &[String]) -> Result<(), Failure> {
    let way = arguments.get(3).map(Path::new);
    let keys = way.filter(|way| *way != Path::new(WITHOUT_BOARDS));
    let numbers = arguments
        .iter()
        .take(3)
        .map(|number| number.parse())
        .collect::<Result<Vec<u32>, _>>()?;
    let [me, workers, shards_per_worker] = numbers[..] else {
        return Err("a worker takes three numbers and perhaps a folder".into());
    };
    let listener = DataPlaneListener::bind("127.0.0.1:0")?;
    if way.is_some() && keys.is_none() {
        listener.share(Sharing::Off);
    }
    if let Some(keys) = keys {
        let worker = ulda_credentials::WorkerCredentials::read(keys)?;
        listener.use_tls(Tls {
            dials: worker.to_peers(),
            accepts: worker.from_peers(),
            peer: worker.peer_name(),
        });
    }
    println!("{}", listener.local_addr());
    let addresses = std::io::stdin().lines().collect::<Result<Vec<String>, _>>()?;
    let membership = Membership {
        run: RunId("benchmark".into()),
        generation: Generation(1),
        me: WorkerIndex(me),
        workers: addresses
            .into_iter()
            .map(|address| WorkerPeer { address })
            .collect(),
        shards: (0..workers * shards_per_worker)
            .map(|shard| WorkerIndex(shard / shards_per_worker))
            .collect(),
        secret: Secret([7; 32]),
        encrypted: keys.is_some(),
    };
    let plane = DataPlane::connect(&listener, membership, PlaneDeadlines::default())?;
    let ranks = plane
        .membership()
        .shards_of(WorkerIndex(me))
        .into_iter()
        .map(|shard| plane.rank(shard));
    let ranks = ranks.collect::<Result<Vec<Rank>, CollectiveError>>()?;
    let mut tables = thread::scope(|scope| {
        let running: Vec<_> = ranks.iter().map(|rank| scope.spawn(|| time(rank))).collect();
        running.into_iter().map(|rank| rank.join()).collect::<Vec<_>>()
    });
    match tables.swap_remove(0) {
        Ok(table) => print!("{}", table?),
        Err(_) => return Err("a rank panicked".into()),
    }
    Ok(())
}

fn time(rank: &Rank) -> Result<String, CollectiveError> {
    let group = ShardGroup::all(rank.shards());
    let mut table = String::new();
    for (size, (bytes, repeats)) in SIZES.into_iter().enumerate() {
        let mut buffer = vec![1.0; bytes / size_of::<f32>()];
        let tag = |step: u64, part: u32| Tag {
            stage: StageName {
                code: 1,
                name: "benchmark",
            },
            step: step * SIZES.len() as u64 + size as u64,
            iteration: 0,
            op: OperationName {
                code: 1,
                name: "buffer",
            },
            part,
        };
        let mut times: Vec<Duration> = Vec::new();
        for step in 0..repeats {
            buffer.fill(1.0);
            rank.barrier(tag(step, 0), &group)?;
            let start = Instant::now();
            rank.all_reduce(tag(step, 1), &group, &mut buffer)?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        table += &format!("{:.3?} | {:.3?}\n", times[times.len() / 2], times[0]);
    }
    Ok(table)
}
