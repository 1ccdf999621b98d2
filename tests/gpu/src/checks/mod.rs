//! The rows, in order.

mod bench;
pub mod memory;
mod nccl;
mod parity;
mod runs;

use std::time::Duration;

use ulda_worker::device::DeviceSurvey;

use crate::Device;
use crate::place::Place;
use crate::program::run;
use crate::table::Table;

pub fn run_all(place: &Place, sight: &DeviceSurvey, table: &mut Table) {
    table.row("devices", || devices(place, sight));
    parity::rows(place, table);
    nccl::rows(place, table);
    runs::rows(place, table);
    memory::rows(place, table);
    bench::rows(place, table);
}

/// Rows that only a GPU can give.
fn on_gpu(place: &Place, table: &mut Table, name: &str, check: impl FnOnce() -> crate::table::Checked) {
    match place.gpus {
        0 => table.skip(name, "needs a GPU"),
        _ => table.row(name, check),
    }
}

/// Rows that take two GPUs.
fn on_two_gpus(place: &Place, table: &mut Table, name: &str, check: impl FnOnce() -> crate::table::Checked) {
    match place.gpus {
        0 => table.skip(name, "needs a GPU"),
        1 => table.skip(name, "needs two GPUs"),
        _ => table.row(name, check),
    }
}

/// What `worker devices` says, and that it is what this process sees.
fn devices(place: &Place, sight: &DeviceSurvey) -> crate::table::Checked {
    let mut command = place.command("worker");
    command.arg("devices");
    let told = run(command, Duration::from_secs(60))?.expect(0)?.out;
    let expected = match (place.device, sight.gpus()) {
        (Device::Cuda, Ok(gpus)) => gpus[0].name.clone(),
        (Device::Cuda, Err(why)) => return Err(why.to_string()),
        (Device::Cpu, Ok(_)) => "cuda:0".to_owned(),
        (Device::Cpu, Err(_)) => "no GPU: ".to_owned(),
    };
    match told.contains(&expected) {
        true => Ok(told.trim().to_owned()),
        false => Err(format!("`worker devices` does not say `{expected}`: {told}")),
    }
}
