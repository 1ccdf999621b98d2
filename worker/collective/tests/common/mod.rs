//! Meshes of several workers inside one process, each shard on a thread of its own.
#![allow(dead_code, reason = "each test file uses its part")]

use std::thread;
use std::time::Duration;

use ulda_collective::{
    CollectiveError, DataPlane, DataPlaneListener, Membership, OperationName, PlaneDeadlines, Rank, RunId,
    Secret, Sharing, StageName, Tag, Tls, WorkerIndex, WorkerPeer,
};
use ulda_run::ids::{Generation, Shard};

/// Long enough for a loaded machine; no test that passes waits for it.
pub const PATIENT: PlaneDeadlines = PlaneDeadlines {
    connect: Duration::from_secs(60),
    handshake: Duration::from_secs(10),
    operation: Duration::from_secs(60),
};

pub fn tag(step: u64, part: u32) -> Tag {
    let op = OperationName {
        code: 1,
        name: "gradient bucket",
    };
    Tag {
        stage: StageName {
            code: 3,
            name: "adapt",
        },
        step,
        iteration: 0,
        op,
        part,
    }
}

pub fn listener() -> DataPlaneListener {
    DataPlaneListener::bind("127.0.0.1:0").unwrap()
}

/// The membership of worker `me`; shards are dealt in contiguous runs, as evenly as possible.
pub fn membership(me: u32, listeners: &[&DataPlaneListener], shards: u32) -> Membership {
    let workers = listeners.len() as u32;
    Membership {
        run: RunId("rainy night".into()),
        generation: Generation(7),
        me: WorkerIndex(me),
        workers: listeners
            .iter()
            .map(|listener| WorkerPeer {
                address: listener.local_addr().to_string(),
            })
            .collect(),
        shards: (0..shards)
            .map(|shard| WorkerIndex(shard * workers / shards))
            .collect(),
        secret: Secret([42; 32]),
        encrypted: false,
    }
}

/// The planes of a mesh of `workers`, by worker.
pub fn mesh(workers: u32, shards: u32, deadlines: PlaneDeadlines) -> Vec<DataPlane> {
    connected(workers, shards, deadlines, None, &|_| Sharing::default())
}

/// The same; what each worker shares with others on this host, by worker.
pub fn sharing_mesh(
    workers: u32,
    shards: u32,
    deadlines: PlaneDeadlines,
    sharing: &dyn Fn(u32) -> Sharing,
) -> Vec<DataPlane> {
    connected(workers, shards, deadlines, None, sharing)
}

/// The same, with encrypted connections.
pub fn encrypted_mesh(workers: u32, shards: u32, deadlines: PlaneDeadlines) -> Vec<DataPlane> {
    let tls = Some(tls(credentials().path()));
    connected(workers, shards, deadlines, tls, &|_| Sharing::default())
}

/// A credentials folder of a run of its own.
pub fn credentials() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    ulda_credentials::issue::create(folder.path(), &[]).unwrap();
    folder
}

/// What a worker with this folder shows and believes.
pub fn tls(folder: &std::path::Path) -> Tls {
    let worker = ulda_credentials::WorkerCredentials::read(folder).unwrap();
    Tls {
        dials: worker.to_peers(),
        accepts: worker.from_peers(),
        peer: worker.peer_name(),
    }
}

fn connected(
    workers: u32,
    shards: u32,
    deadlines: PlaneDeadlines,
    tls: Option<Tls>,
    sharing: &dyn Fn(u32) -> Sharing,
) -> Vec<DataPlane> {
    let listeners: Vec<DataPlaneListener> = (0..workers).map(|_| listener()).collect();
    for (me, listener) in (0..).zip(&listeners) {
        listener.share(sharing(me));
        tls.iter().for_each(|tls| listener.use_tls(tls.clone()));
    }
    let refs: Vec<&DataPlaneListener> = listeners.iter().collect();
    thread::scope(|scope| {
        let connecting: Vec<_> = (0..workers)
            .map(|me| {
                let membership = Membership {
                    encrypted: tls.is_some(),
                    ..membership(me, &refs, shards)
                };
                let listener = refs[me as usize];
                scope.spawn(move || DataPlane::connect(listener, membership, deadlines))
            })
            .collect();
        connecting
            .into_iter()
            .map(|plane| plane.join().unwrap().unwrap())
            .collect()
    })
}

/// The ranks of all shards, by shard.
pub fn ranks(planes: &[DataPlane]) -> Vec<Rank> {
    let shards = planes[0].membership().shards.clone();
    let rank = |(shard, worker): (usize, &WorkerIndex)| planes[worker.0 as usize].rank(Shard(shard as u32));
    shards
        .iter()
        .enumerate()
        .map(|place| rank(place).unwrap())
        .collect()
}

/// Calls `body` on every shard's thread; the results by shard.
pub fn everywhere<R: Send>(planes: &[DataPlane], body: impl Fn(&Rank) -> R + Sync) -> Vec<R> {
    let ranks = ranks(planes);
    thread::scope(|scope| {
        let running: Vec<_> = ranks.iter().map(|rank| scope.spawn(|| body(rank))).collect();
        running.into_iter().map(|result| result.join().unwrap()).collect()
    })
}

/// The text of an error and of all its sources.
pub fn chain(error: &CollectiveError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
