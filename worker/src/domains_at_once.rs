//! How many domains of stage 1 fit in a GPU's memory at once: decided when a run is created.

use ulda_model::ImageConfig;
use ulda_run::spec::{DeviceChoice, Precision, RunSpec, StyleSource};
use ulda_run::stage::Stage;
use ulda_torch::cuda;

use crate::device::DeviceSurvey;

/// What CUDA, cuDNN, cuBLAS and the allocator take beside the tensors.
const LIBRARIES_BYTES: f64 = 2.5 * (1u64 << 30) as f64;
/// Share of what is left that an estimate may fill; cuDNN's workspaces are not in it.
const SHARE: f64 = 0.7;

/// Bytes of RN50 in float32 per pixel of the crop, per image and domain: what the backbone keeps for the backward pass, and
/// what the head and the losses do. Peaks of tensors in `bench step` were 1030 to 1110 bytes together.
const BACKBONE_BYTES: f64 = 750.0;
const HEAD_BYTES: f64 = 400.0;
/// Bytes of tensors that do not grow with the domains.
const FIXED_BYTES: f64 = 0.75 * (1u64 << 30) as f64;
/// Classes of Cityscapes, with which the bytes above were found.
const CLASSES: f64 = 19.0;

/// `simulate.domains_at_once` for a run of `workers` on this host that leaves it open: as many domains as fit in the memory
/// that is free on its GPUs. None where that is not for this host to say: the key is given, no style is learned, or there is
/// no GPU.
pub fn domains_at_once(
    spec: &RunSpec,
    clip: &ImageConfig,
    survey: &DeviceSurvey,
    workers: u32,
) -> Option<u32> {
    let config = spec.config();
    let learns = config.includes(Stage::Simulate) && config.simulate.styles == StyleSource::Learned;
    if config.simulate.domains_at_once.is_some() || !learns || config.compute.device == DeviceChoice::Cpu {
        return None;
    }
    let gpus = survey.gpus().ok()?.len();
    let used = gpus.min(workers.max(1) as usize);
    let free = (0..used).map(|index| cuda::memory(u8::try_from(index).ok()?).ok());
    let free = free.collect::<Option<Vec<_>>>()?;
    let least = free.iter().map(|memory| memory.free_bytes).min()?;
    // Each shard of a GPU computes a group of its own.
    let sharing = spec.shards().div_ceil(u32::try_from(used).ok()?);
    Some(fitting(spec, clip, least, sharing))
}

/// The most domains whose groups fit in `free_bytes`, which `sharing` shards divide; so that the groups of a shard are of
/// about one size.
fn fitting(spec: &RunSpec, clip: &ImageConfig, free_bytes: u64, sharing: u32) -> u32 {
    let each = (free_bytes as f64 - LIBRARIES_BYTES) * SHARE / f64::from(sharing.max(1));
    let held = spec.domains_of_a_shard().max(1);
    let most = (1..=held)
        .take_while(|domains| stage_one_bytes(spec, clip, *domains) <= each)
        .last();
    let groups = held.div_ceil(most.unwrap_or(1));
    held.div_ceil(groups)
}

/// Bytes of tensors in an iteration of stage 1 with so many domains at once, on one shard.
fn stage_one_bytes(spec: &RunSpec, clip: &ImageConfig, domains: u32) -> f64 {
    let simulate = &spec.config().simulate;
    let pixels = f64::from(simulate.batch) * f64::from(simulate.crop).powi(2);
    let head = HEAD_BYTES * spec.classes().len() as f64 / CLASSES;
    // Only what the backbone keeps is half as large in bfloat16; the rest of its step is float32.
    let kept = match spec.config().compute.precision {
        Precision::Bf16 => 0.9,
        Precision::Fp32 | Precision::Tf32 => 1.0,
    };
    let backbone = BACKBONE_BYTES * kept * activations(clip);
    let domain = pixels * (backbone + head.max(HEAD_BYTES));
    FIXED_BYTES * activations(clip).max(1.0) + f64::from(domains) * domain
}

/// Activations of the stages 2 to 4, as many times those of RN50. A block of stage s has channels ∝ 2ˢ, at 1/64 of the
/// crop's pixels in stage 2 and at 1/256 in the others (the last has no stride).
fn activations(clip: &ImageConfig) -> f64 {
    let of = |width: i64, [_, second, third, fourth]: [i64; 4]| {
        width as f64 * (second as f64 * 2.0 / 64.0 + third as f64 * 4.0 / 256.0 + fourth as f64 * 8.0 / 256.0)
    };
    of(clip.width, clip.blocks) / of(64, [3, 4, 6, 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulda_run::spec::{DomainConfig, Host, RunConfig};

    const GIB: u64 = 1 << 30;

    fn rn50() -> ImageConfig {
        ImageConfig {
            width: 64,
            blocks: [3, 4, 6, 3],
            pool: None,
        }
    }

    fn spec(domains: usize, change: impl FnOnce(&mut RunConfig)) -> RunSpec {
        let mut config = RunConfig::default();
        config.clip.checkpoint = "RN50.pt".into();
        config.source.root = "cityscapes".into();
        config.domains = (0..domains)
            .map(|number| DomainConfig {
                name: format!("d{number}").parse().unwrap(),
                prompt: "driving".into(),
                images: Vec::new(),
            })
            .collect();
        change(&mut config);
        RunSpec::resolve(config, Host { workers: 1, cores: 1 }).unwrap()
    }

    /// Peaks of the allocator in `bench step case simulate`, RN50, batch 2, six domains.
    #[test]
    fn estimates_lie_above_the_measured_peaks_and_not_far() {
        let measured = [
            (
                768,
                Precision::Fp32,
                [
                    (1, 1_821_999_616_u64),
                    (2, 3_021_252_608),
                    (3, 4_300_581_376),
                    (6, 8_154_729_984),
                ],
            ),
            (
                768,
                Precision::Bf16,
                [
                    (1, 1_645_245_952),
                    (2, 2_757_458_944),
                    (3, 3_924_637_696),
                    (6, 7_393_278_976),
                ],
            ),
        ];
        for (crop, precision, peaks) in measured {
            let spec = spec(6, |config| {
                config.simulate.crop = crop;
                config.compute.precision = precision;
            });
            for (domains, peak) in peaks {
                let ratio = stage_one_bytes(&spec, &rn50(), domains) / peak as f64;
                assert!(
                    (1.0..1.35).contains(&ratio),
                    "{crop} {precision:?} {domains}: {ratio}"
                );
            }
        }
    }

    #[test]
    fn groups_fill_the_memory_and_are_of_one_size() {
        let six = spec(6, |_| ());
        let fits = |gib: u64, sharing| fitting(&six, &rn50(), gib * GIB, sharing);
        assert_eq!([80, 16, 12, 8, 4, 1].map(|gib| fits(gib, 1)), [6, 6, 3, 2, 1, 1]);
        assert_eq!(fits(80, 8), 3, "eight shards on one GPU");
        let grouped = spec(7, |config| {
            config.run.shards = Some(2);
            config.simulate.prompt_groups = Some(2);
        });
        assert_eq!(fitting(&grouped, &rn50(), 80 * GIB, 2), 4);
        let wide = ImageConfig {
            width: 96,
            blocks: [6, 8, 18, 8],
            pool: None,
        };
        assert_eq!(fitting(&six, &wide, 80 * GIB, 1), 6);
        assert_eq!(fitting(&six, &wide, 24 * GIB, 1), 3);
    }

    #[test]
    fn only_a_run_that_leaves_it_open_and_learns_styles_on_a_gpu_is_told() {
        let nothing = DeviceSurvey::for_choice(DeviceChoice::Cpu, false);
        assert_eq!(domains_at_once(&spec(3, |_| ()), &rn50(), &nothing, 1), None);
    }
}
