//! NCCL alone: one rank through all of it, a peer that never comes, two GPUs and what order costs there.

use std::thread;
use std::time::{Duration, Instant};

use tch::{Device as TorchDevice, Kind, Tensor};
use ulda_nccl::{
    Communicator, DeviceSpan, Library, NcclDeadlines, NcclError, PendingOperation, RankSeat, UniqueId,
};
use ulda_torch::stream::{CudaEvent, CudaStream};
use ulda_worker::link::GpuTime;

use super::{on_gpu, on_two_gpus};
use crate::place::Place;
use crate::table::{Checked, Table};

const DEADLINES: NcclDeadlines = NcclDeadlines {
    form: Duration::from_secs(5),
    operation: Duration::from_secs(20),
    abort: Duration::from_secs(20),
};
/// 64 MiB of float32.
const VALUES: i64 = 16 << 20;

pub fn rows(place: &Place, table: &mut Table) {
    on_gpu(place, table, "NCCL, one rank", one_rank);
    on_gpu(place, table, "NCCL, absent peer", absent_peer);
    on_two_gpus(place, table, "NCCL, two GPUs", two_gpus);
}

/// The first rank, which makes the id.
fn form(ranks: u32) -> Result<Communicator<GpuTime>, NcclError> {
    let library = Library::find()?;
    let id = library.unique_id()?;
    join(&library, id, RankSeat { rank: 0, ranks })
}

/// Each rank on the GPU of its number.
fn join(library: &Library, id: UniqueId, seat: RankSeat) -> Result<Communicator<GpuTime>, NcclError> {
    let outside = |cause: String| NcclError::Outside { cause };
    let gpu = u8::try_from(seat.rank).map_err(|error| outside(error.to_string()))?;
    let time = GpuTime::new(gpu).map_err(|error| outside(error.to_string()))?;
    Communicator::form(library, id, seat, time, DEADLINES, || None)
}

fn one_rank() -> Checked {
    let text = |error: NcclError| error.to_string();
    let communicator = form(1).map_err(text)?;
    let buffer = Tensor::ones([VALUES], (Kind::Float, TorchDevice::Cuda(0)));
    let best = best_of_ten(0, |round, ready| {
        communicator.all_reduce_sum(format!("round {round}"), span(&buffer), ready)
    })?;
    let mean = buffer.mean(Kind::Float).double_value(&[]);
    communicator.close().map_err(text)?;
    match mean == 1.0 {
        true => Ok(format!(
            "64 MiB, best of 10: {:.0} us, sums right, closed in order",
            best * 1e6
        )),
        false => Err(format!("the sum over one rank changed the mean from 1 to {mean}")),
    }
}

fn absent_peer() -> Checked {
    let started = Instant::now();
    let error = match form(2) {
        Ok(_) => return Err("a communicator of two ranks formed with one".into()),
        Err(error) => error,
    };
    let waited = started.elapsed();
    match (&error, waited < DEADLINES.form + DEADLINES.abort) {
        (NcclError::FormTimeout { .. }, true) => Ok(format!("after {:.1} s: {error}", waited.as_secs_f64())),
        _ => Err(format!("after {:.1} s: {error}", waited.as_secs_f64())),
    }
}

/// A sum of 64 MiB by each rank, by all-reduce and as ordered sums do it: gathered, then added up.
fn two_gpus() -> Checked {
    let library = Library::find().map_err(|error| error.to_string())?;
    let id = library.unique_id().map_err(|error| error.to_string())?;
    let library = &library;
    let told = thread::scope(|scope| {
        let ranks = [0, 1].map(|rank| scope.spawn(move || rank_of_two(library, id, rank)));
        let ended = ranks.map(|rank| rank.join().unwrap_or_else(|_| Err("a rank panicked".to_owned())));
        ended.into_iter().collect::<Result<Vec<_>, String>>()
    })?;
    let (free, ordered) = told[0];
    Ok(format!(
        "64 MiB, best of 10: all-reduce {:.0} us, ordered {:.0} us ({:.1}x)",
        free * 1e6,
        ordered * 1e6,
        ordered / free
    ))
}

/// Seconds of an all-reduce and of an ordered sum.
fn rank_of_two(library: &Library, id: UniqueId, rank: u32) -> Result<(f64, f64), String> {
    let text = |error: NcclError| error.to_string();
    let device = TorchDevice::Cuda(rank as usize);
    ulda_torch::stream::use_gpu(rank as u8).map_err(|error| error.to_string())?;
    let communicator = join(library, id, RankSeat { rank, ranks: 2 }).map_err(text)?;
    let mine = Tensor::full([VALUES], f64::from(rank + 1), (Kind::Float, device));
    let sum = mine.copy();
    let free = best_of_ten(rank as u8, |round, ready| {
        communicator.all_reduce_sum(format!("sum {round}"), span(&sum), ready)
    })?;
    // Ten times the sum of what the ranks then had: (1 + 2) 2⁹.
    let expected = 3.0 * 512.0;
    let all = Tensor::zeros([2, VALUES], (Kind::Float, device));
    let gathered = best_of_ten(rank as u8, |round, ready| {
        communicator.all_gather(format!("gather {round}"), span(&mine), span(&all), ready)
    })?;
    let started = Instant::now();
    let ordered = all.get(0) + all.get(1);
    ulda_torch::stream::synchronise(rank as u8).map_err(|error| error.to_string())?;
    let adding = started.elapsed().as_secs_f64();
    communicator.close().map_err(text)?;
    let means = [&sum, &ordered].map(|sum| sum.mean(Kind::Float).double_value(&[]));
    match means == [expected, 3.0] {
        true => Ok((free, gathered + adding)),
        false => Err(format!(
            "rank {rank}: means {means:?} instead of [{expected}, 3.0]"
        )),
    }
}

/// Seconds of the fastest of ten operations in turn, from asking to having seen it complete.
fn best_of_ten(gpu: u8, operation: impl Fn(u32, CudaEvent) -> PendingOperation) -> Result<f64, String> {
    let mut best = f64::INFINITY;
    for round in 0..10 {
        let started = Instant::now();
        let ready = CudaStream::current(gpu).and_then(|stream| stream.record());
        let ready = ready.map_err(|error| error.to_string())?;
        operation(round, ready)
            .wait()
            .map_err(|error| error.to_string())?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn span(buffer: &Tensor) -> DeviceSpan<f32> {
    let keeper = Box::new(buffer.shallow_clone());
    // SAFETY: a contiguous float32 tensor on the GPU, kept by its clone; nothing uses it before the wait returns.
    unsafe { DeviceSpan::new(buffer.data_ptr().cast(), buffer.numel(), keeper) }
}
