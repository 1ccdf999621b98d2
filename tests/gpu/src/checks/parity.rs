//! The published implementation's numbers, recorded on a CPU, computed on this device.

use std::time::Duration;

use crate::Device;
use crate::place::Place;
use crate::program::run;
use crate::table::{Checked, Table};

const LIMIT: Duration = Duration::from_secs(300);
/// How many times a CPU's tolerance a GPU has in float32: it cuts its sums otherwise.
const GPU_SLACK: &str = "10";

pub fn rows(place: &Place, table: &mut Table) {
    let programs = place.programs("parity_");
    if programs.is_empty() {
        table.row("parity", || {
            Err("no parity test lies beside this program; hint: tests/gpu/pack".into())
        });
    }
    for program in programs {
        table.row(&format!("{program}, float32"), || parity(place, &program));
    }
}

fn parity(place: &Place, program: &str) -> Checked {
    let mut command = place.command(program);
    command
        .args(["--nocapture", "--test-threads", "1"])
        .env("ULDA_GOLDEN", &place.golden)
        .env("ULDA_GOLDEN_DEVICE", place.device.name())
        .env("CUBLAS_WORKSPACE_CONFIG", ":4096:8");
    if place.device == Device::Cuda {
        command.env("ULDA_GOLDEN_SLACK", GPU_SLACK);
    }
    let out = run(command, LIMIT)?.expect(0)?.out;
    let groups = out.lines().filter(|line| line.contains("parity | ")).count();
    if groups == 0 {
        return Err(format!("compared nothing: {out}"));
    }
    let slack = if place.device == Device::Cuda {
        GPU_SLACK
    } else {
        "1"
    };
    Ok(format!("{groups} groups within {slack} x their tolerances"))
}
