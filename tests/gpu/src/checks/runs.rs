//! Whole runs: repeatable, the same through every carrier of sums, and what precision does to the scores.

use super::{on_gpu, on_two_gpus};
use crate::place::{Place, Sees, Trained};
use crate::table::{Checked, Table};

/// bfloat16 may cost the adapted model this much mIoU on the tiny run.
const BF16_MIOU: f64 = 0.03;
/// What a worker logs when sums stay on the GPU.
const ON_GPU: &str = "gradients are summed on the GPU";

pub fn rows(place: &Place, table: &mut Table) {
    let mut first: Option<Trained> = None;
    table.row("demo run, float32", || {
        let run = place.train("first", 1, Sees::All, &[])?;
        let seen = format!(
            "mIoU {:.4} in {:.1} s, digest {:.12}",
            run.adapted_miou, run.seconds, run.digest
        );
        first = Some(run);
        Ok(seen)
    });
    let Some(first) = first else {
        table.skip("runs", "the demo run did not end well, or was left out");
        return;
    };
    table.row("the same run again", || {
        same(&place.train("again", 1, Sees::All, &[])?, &first)
    });
    on_gpu(place, table, "one-rank NCCL through a run", || {
        let run = place.train("nccl", 1, Sees::All, &["compute.collective=nccl"])?;
        says(&run, ON_GPU)?;
        same(&run, &first)
    });
    on_gpu(place, table, "ordered sums by NCCL", || {
        let run = place.train(
            "ordered",
            1,
            Sees::All,
            &["compute.collective=nccl", "compute.ordered_sums=true"],
        )?;
        says(&run, ON_GPU)?;
        same(&run, &first)
    });
    on_gpu(place, table, "two workers on one GPU, TCP", || {
        let run = place.train("shared", 2, Sees::OneGpu, &[])?;
        says(&run, "share one GPU")?;
        let same = if run.digest == first.digest {
            "equal"
        } else {
            "not equal"
        };
        Ok(format!(
            "told of; digest {same} to one worker's, mIoU {:.4}",
            run.adapted_miou
        ))
    });
    on_gpu(place, table, "two workers on one GPU, NCCL asked for", || {
        let ended = place
            .try_train("refused", 2, Sees::OneGpu, &["compute.collective=nccl"])?
            .expect(78)?;
        match ended.err.contains("share one GPU") {
            true => Ok("refused with 78 and a sentence".into()),
            false => Err(format!("another sentence: {}", ended.err)),
        }
    });
    on_two_gpus(place, table, "two workers on two GPUs, NCCL", || {
        let sets = ["compute.collective=nccl"];
        let run = place.train("pair", 2, Sees::All, &sets)?;
        says(&run, ON_GPU)?;
        same(&place.train("pair-again", 2, Sees::All, &sets)?, &run)?;
        Ok(format!(
            "repeatable, mIoU {:.4}, {:.1} s; one GPU took {:.1}",
            run.adapted_miou, run.seconds, first.seconds
        ))
    });
    on_two_gpus(place, table, "two workers on two GPUs, ordered sums", || {
        let sets = ["compute.collective=nccl", "compute.ordered_sums=true"];
        let run = place.train("pair-ordered", 2, Sees::All, &sets)?;
        says(&run, ON_GPU)?;
        same(&run, &first)?;
        Ok(format!("one worker's digest, in {:.1} s", run.seconds))
    });
    table.row("two workers, same bits where they are promised", || {
        two_workers(place, &first)
    });
    table.row("demo run, bfloat16", || bf16(place, &first));
}

fn same(run: &Trained, first: &Trained) -> Checked {
    match run.digest == first.digest {
        true => Ok("the same digest".into()),
        false => Err(format!(
            "digest {:.12} instead of {:.12}",
            run.digest, first.digest
        )),
    }
}

fn says(run: &Trained, words: &str) -> Result<(), String> {
    match run.log.contains(words) {
        true => Ok(()),
        false => Err(format!("no worker logged `{words}`")),
    }
}

/// On CPUs the digest does not depend on the number of workers.
fn two_workers(place: &Place, first: &Trained) -> Checked {
    match place.device {
        crate::Device::Cpu => same(&place.train("two", 2, Sees::All, &[])?, first),
        crate::Device::Cuda => Ok("promised for CPUs and for ordered sums; see the rows above".into()),
    }
}

fn bf16(place: &Place, first: &Trained) -> Checked {
    let run = place.train("bf16", 1, Sees::All, &["compute.precision=bf16"])?;
    if run.digest == first.digest {
        return Err("bfloat16 changed nothing, so it was not used".into());
    }
    let change = run.adapted_miou - first.adapted_miou;
    let seen = format!(
        "mIoU {:.4}, {change:+.4}, in {:.1} s",
        run.adapted_miou, run.seconds
    );
    match change >= -BF16_MIOU {
        true => Ok(seen),
        false => Err(format!("{seen}: more than {BF16_MIOU} lost")),
    }
}
