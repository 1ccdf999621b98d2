//! A GPU that is full: the run ends with a sentence.

use std::io::Read;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use tch::{Device as TorchDevice, Kind, Tensor};
use ulda_torch::cuda;

use super::on_gpu;
use crate::place::{Place, Sees};
use crate::table::{Checked, Table};

/// What is left to the run: enough for CUDA's context and the kernels of cuDNN and cuBLAS, too little for its first step.
const LEFT_MIB: u64 = 2560;
const HOG_LIMIT: Duration = Duration::from_secs(60);

pub fn rows(place: &Place, table: &mut Table) {
    on_gpu(place, table, "out of memory", || out_of_memory(place));
}

fn out_of_memory(place: &Place) -> Checked {
    let mut command = place.command("gpu-check");
    command.args(["--golden", "unused", "--hog", &LEFT_MIB.to_string()]);
    let mut hog = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("start the hog: {error}"))?;
    let seen = await_ready(&mut hog)
        .and_then(|()| place.try_train("full", 1, Sees::OneGpu, &["pretrain.batch=1024"]));
    drop(hog.stdin.take());
    let _ = hog.kill();
    let _ = hog.wait();
    let ended = seen?.expect(78)?;
    let sentence = ended
        .err
        .lines()
        .find(|line| line.contains("out of memory on cuda:0 in "))
        .ok_or_else(|| format!("no sentence about memory: {}", ended.err))?;
    for part in [
        "were asked for",
        "this worker holds",
        "a shard's images are",
        "hint: ",
    ] {
        if !sentence.contains(part) {
            return Err(format!("`{part}` is missing: {sentence}"));
        }
    }
    Ok(sentence.trim().to_owned())
}

fn await_ready(hog: &mut std::process::Child) -> Result<(), String> {
    let mut out = hog.stdout.take().ok_or("the hog has no output")?;
    let ready = std::thread::spawn(move || {
        let mut byte = [0];
        out.read_exact(&mut byte)
    });
    let started = Instant::now();
    while !ready.is_finished() {
        if started.elapsed() > HOG_LIMIT {
            return Err("the hog did not fill the GPU in time".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    match ready.join() {
        Ok(Ok(())) => Ok(()),
        _ => Err("the hog ended early".into()),
    }
}

/// Holds all but `left_mib` MiB of the first GPU until standard input ends.
pub fn hog(left_mib: u64) -> ExitCode {
    let held = cuda::memory(0)
        .map_err(|error| error.to_string())
        .and_then(|memory| {
            let take = memory.free_bytes.saturating_sub(left_mib << 20);
            Tensor::f_zeros([take as i64], (Kind::Uint8, TorchDevice::Cuda(0)))
                .map_err(|error| error.to_string())
        });
    match held {
        Ok(_held) => {
            println!("ready");
            let mut rest = Vec::new();
            // Ends with whoever started this.
            let _ = std::io::stdin().read_to_end(&mut rest);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("hog: {error}");
            ExitCode::FAILURE
        }
    }
}
