//! The tables of the page, as Markdown.

use std::fmt::Write;

use ulda_model::Head;
use ulda_run::stage::Stage;

use super::constants::{ALL, DECODERS, Origin, READ_CROP, READ_PHOTO, SHARE};
use super::hosts::{NODE_GIGABITS, Precision, cluster, cpu, h100, loopback};
use super::measured::{ALL_REDUCES, GLOO, Point};
use super::model::{Device, Job, Scaling, Step, step};
use super::network::{Gathers, Network};
use super::sizes::{EMBEDDING, Sizes};

/// Numbers of GPUs in the tables.
const WORKERS: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/// Shares of the peak whose consequences are shown.
const SHARES: [f64; 4] = [0.17, 0.25, 0.35, 0.50];

/// Images per second on a host with too few cores, as far as each GPU's decoder threads keep up, which read ahead.
pub fn as_read(job: &Job, step: &Step) -> f64 {
    let (images_per_second, decoders) = (step.images_per_second(), DECODERS.value * f64::from(step.active));
    match job.stage {
        Stage::Pretrain | Stage::Adapt => images_per_second.min(READ_CROP.value * decoders),
        // A batch is read once for all its iterations.
        Stage::Simulate => images_per_second,
        Stage::Evaluate => images_per_second.min(READ_PHOTO.value * decoders),
    }
}

/// What the model says of a measured point.
pub fn predicted(point: &Point, sizes: &Sizes) -> Option<f64> {
    let job = point.job()?;
    let crowd = job.stage == Stage::Simulate && point.workers > job.domains;
    let scaling = if crowd { Scaling::Weak } else { Scaling::Strong };
    let (device, network) = if point.on_cpu() {
        (cpu(), loopback())
    } else {
        let precision = if point.precision == Precision::Bf16.name() {
            Precision::Bf16
        } else {
            Precision::Tf32
        };
        (
            h100(precision, SHARE.value),
            cluster(NODE_GIGABITS[1], Gathers::Mesh),
        )
    };
    Some(step(&job, scaling, point.workers, &device, &network, sizes).images_per_second())
}

/// All tables.
pub fn all(sizes: &Sizes, points: &[Point]) -> String {
    [
        work(),
        traffic(sizes),
        constants(),
        predictions(sizes),
        parts(sizes),
        sensitivity(sizes),
        measured(sizes, points),
    ]
    .join("\n")
}

/// Three significant digits.
pub fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    format!("{value:.*}", digits.clamp(0, 6) as usize)
}

fn table(title: &str, columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!(
        "### {title}\n\n| {} |\n|{}\n",
        columns.join(" | "),
        "--|".repeat(columns.len())
    );
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

fn gpu() -> Device {
    h100(Precision::Tf32, SHARE.value)
}

fn work() -> String {
    let rows = Stage::ALL.into_iter().map(|stage| {
        let job = Job::published(stage);
        let (work, networks) = (job.work().total(), gpu());
        let times = match stage {
            Stage::Simulate => f64::from(job.batch * job.domains),
            _ => f64::from(job.batch),
        };
        let what = match stage {
            Stage::Simulate => format!("one iteration: {} images x {} domains", job.batch, job.domains),
            Stage::Evaluate => format!("one image, {} heads", job.heads),
            _ => format!("{} images", job.batch),
        };
        let passes = if stage == Stage::Simulate {
            f64::from(job.domains)
        } else {
            1.0
        };
        let gigabytes = (work.moved * times + work.weights * passes) * networks.element_bytes / 1e9;
        vec![
            stage.name().to_owned(),
            what,
            short(work.flops() * times / 1e9),
            short(gigabytes),
            short(gigabytes / 2.0),
            short(work.flops() * times / 1e9 / gigabytes),
            format!("{:.0}", work.launches * passes),
        ]
    });
    table(
        "Work of a step, one GPU, published values",
        &[
            "stage",
            "step",
            "GFLOP",
            "GB moved, float32",
            "GB moved, bf16",
            "FLOP per byte, float32",
            "operations",
        ],
        rows,
    )
}

fn traffic(sizes: &Sizes) -> String {
    let kib = |bytes: f64| format!("{} KiB", short(bytes / 1024.0));
    let mib = |bytes: f64| format!("{} MiB", short(bytes / f64::from(1 << 20)));
    let mut rows = Vec::new();
    for (stage, buckets, parameters) in [
        (Stage::Pretrain, &sizes.pretrain, sizes.head_parameters),
        (
            Stage::Adapt,
            &sizes.adapt,
            sizes.head_parameters + sizes.rectifier_parameters,
        ),
    ] {
        let last = buckets
            .iter()
            .max_by(|a, b| a.ready.total_cmp(&b.ready))
            .map_or(0.0, |bucket| bucket.bytes);
        rows.push(vec![
            stage.name().to_owned(),
            format!("sum of {parameters} gradients"),
            mib(Sizes::gradient_bytes(buckets)),
            format!(
                "NCCL, {} buckets during backward; last {}",
                buckets.len(),
                mib(last)
            ),
        ]);
        rows.push(vec![
            stage.name().to_owned(),
            format!("BatchNorm, {} layers, there and back", Head::BATCH_NORMS),
            kib(sizes.norm_messages.iter().sum()),
            format!("TCP, {} gathers, each waited for", sizes.norm_messages.len()),
        ]);
        rows.push(vec![
            stage.name().to_owned(),
            "labelled pixels, loss".to_owned(),
            "16 B".to_owned(),
            "TCP, 2 gathers".to_owned(),
        ]);
    }
    let job = Job::published(Stage::Simulate);
    let prototypes = f64::from(job.batch) * (16.0 + 8.0 * EMBEDDING as f64 * 4.0);
    let styles = f64::from(job.batch) * 2.0 * 4.0 * 256.0;
    let projector = 4.0 * sizes.projector_parameters as f64;
    let simulate = |what: &str, bytes: String, how: &str| {
        vec![
            Stage::Simulate.name().to_owned(),
            what.to_owned(),
            bytes,
            how.to_owned(),
        ]
    };
    rows.push(simulate(
        "prototypes of a domain, 8 classes per image, each iteration",
        kib(prototypes),
        "TCP gather, only among the prompt groups of a batch",
    ));
    rows.push(simulate(
        &format!(
            "sum of {} projector gradients of a domain, each iteration",
            sizes.projector_parameters
        ),
        mib(projector),
        "NCCL, only among data shards, waited for",
    ));
    rows.push(simulate(
        "pulse, each iteration",
        "0".to_owned(),
        "TCP gather among all",
    ));
    rows.push(simulate(
        "styles and projector of a domain, each round",
        mib(styles + projector),
        "TCP gather to all",
    ));
    let heads = Job::published(Stage::Evaluate).heads;
    rows.push(vec![
        Stage::Evaluate.name().to_owned(),
        format!("confusion matrices of {heads} heads, each set"),
        kib(f64::from(heads) * 361.0 * 8.0),
        "TCP sum".to_owned(),
    ]);
    table(
        "Bytes that a worker contributes",
        &["stage", "what", "bytes", "how, on GPUs"],
        rows,
    )
}

fn constants() -> String {
    let rows = ALL.iter().map(|constant| {
        let (divisor, unit) = constant.written;
        let (kind, text) = match constant.origin {
            Origin::Assumed(text) => ("**assumed**", text),
            Origin::Measured(text) => ("measured", text),
        };
        vec![
            constant.name.to_owned(),
            format!("{} {unit}", short(constant.value / divisor))
                .trim()
                .to_owned(),
            kind.to_owned(),
            text.to_owned(),
        ]
    });
    table("Constants", &["constant", "value", "", "from"], rows)
}

fn predictions(sizes: &Sizes) -> String {
    let mut text = String::new();
    for stage in Stage::ALL {
        let job = Job::published(stage);
        let on = |scaling, workers, network: &Network| step(&job, scaling, workers, &gpu(), network, sizes);
        let [slow, fast] = NODE_GIGABITS.map(|gigabits| cluster(gigabits, Gathers::Mesh));
        let without_mesh = cluster(NODE_GIGABITS[1], Gathers::Nccl);
        let rows = WORKERS.into_iter().map(|workers| {
            let (weak, strong) = (
                on(Scaling::Weak, workers, &fast),
                on(Scaling::Strong, workers, &fast),
            );
            vec![
                workers.to_string(),
                short(on(Scaling::Weak, workers, &slow).images_per_second()),
                short(weak.images_per_second()),
                weak.limit().to_owned(),
                short(on(Scaling::Weak, workers, &without_mesh).images_per_second()),
                short(as_read(&job, &weak)),
                short(strong.images_per_second()),
                strong.limit().to_owned(),
                strong.active.to_string(),
            ]
        });
        text += &table(
            &format!(
                "Predicted, not measured: {} on H100, TF32, images/s",
                stage.name()
            ),
            &[
                "GPUs",
                "weak, 100 Gb/s",
                "weak, 400 Gb/s",
                "its largest part",
                "were gathers on NCCL",
                "with 4 decoder threads per GPU",
                "strong, 400 Gb/s",
                "its largest part",
                "GPUs busy",
            ],
            rows,
        );
        if stage != Stage::Evaluate {
            text.push('\n');
        }
    }
    text
}

fn parts(sizes: &Sizes) -> String {
    let network = cluster(NODE_GIGABITS[1], Gathers::Mesh);
    let mut rows = Vec::new();
    for stage in [Stage::Pretrain, Stage::Simulate, Stage::Adapt] {
        for workers in [1, 8, 16, 64, 256] {
            let step = step(
                &Job::published(stage),
                Scaling::Weak,
                workers,
                &gpu(),
                &network,
                sizes,
            );
            let milliseconds = |seconds: f64| short(seconds * 1e3);
            rows.push(vec![
                stage.name().to_owned(),
                workers.to_string(),
                milliseconds(step.roofs.arithmetic),
                milliseconds(step.roofs.memory),
                milliseconds(step.roofs.launches),
                milliseconds(step.gradients),
                milliseconds(step.gathers),
                milliseconds(step.update),
                milliseconds(step.seconds()),
            ]);
        }
    }
    table(
        "A step in parts, weak, 400 Gb/s, milliseconds (simulate: one iteration)",
        &[
            "stage",
            "GPUs",
            "bound by arithmetic",
            "bound by memory",
            "launches",
            "gradients not hidden",
            "gathers",
            "update",
            "step",
        ],
        rows,
    )
}

fn sensitivity(sizes: &Sizes) -> String {
    let network = cluster(NODE_GIGABITS[1], Gathers::Mesh);
    let mut rows = Vec::new();
    for stage in Stage::ALL {
        for precision in [Precision::Tf32, Precision::Bf16] {
            for workers in [1, 8, 256] {
                let mut row = vec![
                    stage.name().to_owned(),
                    precision.name().to_owned(),
                    workers.to_string(),
                ];
                for share in SHARES {
                    let device = h100(precision, share);
                    let step = step(
                        &Job::published(stage),
                        Scaling::Weak,
                        workers,
                        &device,
                        &network,
                        sizes,
                    );
                    row.push(format!("{} ({})", short(step.images_per_second()), step.limit()));
                }
                rows.push(row);
            }
        }
    }
    table(
        "What the assumed share does: images/s, weak, 400 Gb/s (largest part)",
        &["stage", "precision", "GPUs", "17 %", "25 %", "35 %", "50 %"],
        rows,
    )
}

fn measured(sizes: &Sizes, points: &[Point]) -> String {
    let rows = points.iter().map(|point| {
        let predicted = predicted(point, sizes).unwrap_or(f64::NAN);
        vec![
            point.device.clone(),
            point.stage.clone(),
            point.workers.to_string(),
            point.crop.to_string(),
            point.batch.to_string(),
            point.domains.to_string(),
            point.precision.clone(),
            point.date.clone(),
            short(point.images_per_second),
            short(predicted),
            format!("{:.2}", predicted / point.images_per_second),
            point.note.clone(),
        ]
    });
    let mut text = table(
        "Measured steps beside the model, images/s",
        &[
            "device",
            "stage",
            "workers",
            "crop",
            "batch",
            "domains",
            "precision",
            "date",
            "measured",
            "predicted",
            "ratio",
            "note",
        ],
        rows,
    );
    text.push('\n');
    let range = |least: f64, most: f64| format!("{least} to {most}");
    let rows = ALL_REDUCES
        .iter()
        .zip(GLOO)
        .map(|((processes, bytes, least, most), gloo)| {
            let network = loopback();
            let predicted = network.all_reduce(network.ranks(*processes, 1), *bytes) * 1e3;
            vec![
                processes.to_string(),
                format!("{} KiB", bytes / 1024.0),
                range(*least, *most),
                short(predicted),
                range(gloo.0, gloo.1),
            ]
        });
    text + &table(
        "Measured all-reduces beside the model, milliseconds (2026-11-27, 2 shared cores, AMD EPYC, AVX2)",
        &["processes", "bytes", "measured", "model", "Gloo, measured"],
        rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (1234.5, "1234"),
            (171.2, "171"),
            (17.26, "17.3"),
            (0.04567, "0.0457"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
