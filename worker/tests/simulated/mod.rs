//! Workers of one process: meshes between them, and NCCL's stand-in from ulda-nccl's examples.

use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread;

use libloading::os::unix::Library as Shared;
use tch::Tensor;

use ulda_collective::{
    DataPlane, DataPlaneListener, Membership, PlaneDeadlines, RunId, Secret, WorkerIndex, WorkerPeer,
};
use ulda_nccl::{Library, Timeline};
use ulda_run::ids::Generation;
use ulda_worker::link::Clock;

/// The simulated library, which sums host memory between ranks of this process.
pub fn nccl() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| Library::open(path()).expect("the simulated library loads"))
}

fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let own = std::env::current_exe().expect("a test knows its own path");
        let profile = own
            .parent()
            .and_then(|deps| deps.parent())
            .expect("<target>/<profile>/deps");
        let path = profile.join("examples/libsimulated_nccl.so");
        assert!(
            path.is_file(),
            "`{}` is not built; run `cargo build --release -p ulda-nccl --examples` before this test",
            path.display()
        );
        path
    })
}

/// A stream of the simulated library.
pub struct SimulatedTime {
    stream: usize,
    mark: unsafe extern "C" fn(usize) -> u64,
    passed: unsafe extern "C" fn(usize, u64) -> bool,
}

impl SimulatedTime {
    pub fn new() -> Self {
        // SAFETY: the library is loaded already, and these are its functions' types.
        unsafe {
            let library = Shared::new(path()).unwrap();
            let stream: unsafe extern "C" fn() -> *mut c_void = *library.get(b"sim_stream\0").unwrap();
            let time = Self {
                stream: stream() as usize,
                mark: *library.get(b"sim_mark\0").unwrap(),
                passed: *library.get(b"sim_passed\0").unwrap(),
            };
            std::mem::forget(library);
            time
        }
    }
}

impl Clock for SimulatedTime {
    /// Host memory is ready when the host has written it.
    fn ready(_: &Tensor) -> Result<u64, String> {
        Ok(0)
    }
}

impl Timeline for SimulatedTime {
    type Mark = u64;

    fn enter(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn stream(&self) -> *mut c_void {
        self.stream as *mut c_void
    }

    fn after(&mut self, _: &u64) -> Result<(), String> {
        Ok(())
    }

    fn mark(&mut self) -> Result<u64, String> {
        // SAFETY: numbers alone.
        Ok(unsafe { (self.mark)(self.stream) })
    }

    fn passed(&self, mark: &u64) -> Result<bool, String> {
        // SAFETY: numbers alone.
        Ok(unsafe { (self.passed)(self.stream, *mark) })
    }
}

/// The meshes of `workers` workers that share `shards` shards in turn.
pub fn planes(workers: u32, shards: u32) -> Vec<Arc<DataPlane>> {
    let listeners: Vec<DataPlaneListener> = (0..workers)
        .map(|_| DataPlaneListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let peers: Vec<WorkerPeer> = listeners
        .iter()
        .map(|listener| WorkerPeer {
            address: listener.local_addr().to_string(),
        })
        .collect();
    let membership = |me: u32| Membership {
        run: RunId("sums".into()),
        generation: Generation(1),
        me: WorkerIndex(me),
        workers: peers.clone(),
        shards: (0..shards).map(|shard| WorkerIndex(shard % workers)).collect(),
        secret: Secret([7; 32]),
        encrypted: false,
    };
    thread::scope(|scope| {
        let connecting: Vec<_> = (0..workers)
            .zip(&listeners)
            .map(|(me, listener)| {
                let membership = membership(me);
                scope.spawn(move || {
                    DataPlane::connect(listener, membership, PlaneDeadlines::default()).unwrap()
                })
            })
            .collect();
        connecting
            .into_iter()
            .map(|plane| Arc::new(plane.join().unwrap()))
            .collect()
    })
}
