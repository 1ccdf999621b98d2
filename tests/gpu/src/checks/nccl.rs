//! NCCL alone: one rank through all of it, and a peer that never comes.

use std::time::{Duration, Instant};

use tch::{Device as TorchDevice, Kind, Tensor};
use ulda_nccl::{Communicator, Deadlines, Library, NcclError, Seat, Span};
use ulda_torch::stream::Stream;
use ulda_worker::link::GpuTime;

use super::on_gpu;
use crate::place::Place;
use crate::table::{Checked, Table};

const DEADLINES: Deadlines = Deadlines {
    form: Duration::from_secs(5),
    operation: Duration::from_secs(20),
    abort: Duration::from_secs(20),
};
/// 64 MiB of float32.
const VALUES: i64 = 16 << 20;

pub fn rows(place: &Place, table: &mut Table) {
    on_gpu(place, table, "NCCL, one rank", one_rank);
    on_gpu(place, table, "NCCL, absent peer", absent_peer);
}

fn form(ranks: u32) -> Result<Communicator<GpuTime>, NcclError> {
    let library = Library::find()?;
    let id = library.unique_id()?;
    let time = GpuTime::new(0).map_err(|error| NcclError::Outside {
        cause: error.to_string(),
    })?;
    Communicator::form(&library, id, Seat { rank: 0, ranks }, time, DEADLINES, || None)
}

fn one_rank() -> Checked {
    let text = |error: NcclError| error.to_string();
    let communicator = form(1).map_err(text)?;
    let buffer = Tensor::ones([VALUES], (Kind::Float, TorchDevice::Cuda(0)));
    let mut best = f64::INFINITY;
    for round in 0..10 {
        let started = Instant::now();
        let ready = Stream::current(0).and_then(|stream| stream.record());
        let ready = ready.map_err(|error| error.to_string())?;
        let pending = communicator.all_reduce_sum(format!("round {round}"), span(&buffer), ready);
        pending.wait().map_err(text)?;
        best = best.min(started.elapsed().as_secs_f64());
    }
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

fn span(buffer: &Tensor) -> Span<f32> {
    let keeper = Box::new(buffer.shallow_clone());
    // SAFETY: a contiguous float32 tensor on the GPU, kept by its clone; nothing uses it before the wait returns.
    unsafe { Span::new(buffer.data_ptr().cast(), buffer.numel(), keeper) }
}
