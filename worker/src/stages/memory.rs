//! Out of memory, told so that a person knows what to lower.
//!
//! libtorch says it in an error or, from operations that have no error, in a panic; both end here.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tch::Device;
use ulda_run::spec::{RunConfig, StyleSource};
use ulda_run::stage::{Cursor, Stage};
use ulda_torch::cuda::{self, DeviceMemory};

use super::StageError;
use super::context::Context;
use crate::link::ReductionError;

/// What to do on a GPU that others fill.
const END_OTHERS: &str = "end the other processes on this GPU";

/// A stage or a prediction that did not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory on {place} in {at}: {asked}{held}; {shapes}")]
pub struct OutOfMemory {
    /// Such as `cuda:0`.
    pub place: String,
    /// Such as `adapt step 7`.
    pub at: String,
    /// What could not be had.
    pub asked: String,
    /// What the device has and who holds it; empty where nobody knows.
    pub held: String,
    /// Sizes of the step's tensors.
    pub shapes: String,
    /// What to lower.
    pub advice: String,
}

impl OutOfMemory {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(self.advice.clone())
    }
}

/// `body`, with want of memory told as such whether it comes as an error or as a panic.
pub fn within_memory<T>(
    context: &Context,
    at: Cursor,
    body: impl FnOnce() -> Result<T, StageError>,
) -> Result<T, StageError> {
    let config = context.spec.config();
    caught(body, |asked| {
        out_of_memory(asked, at.to_string(), context.resources.device, |memory| {
            (shapes(at.stage, config), advice(at.stage, config, memory))
        })
    })
}

/// The same of a prediction on `device`; `needed` says what for.
pub fn prediction_within_memory<T>(
    device: Device,
    needed: &str,
    body: impl FnOnce() -> Result<T, StageError>,
) -> Result<T, StageError> {
    caught(body, |asked| {
        out_of_memory(asked, "a prediction".to_owned(), device, |memory| {
            (needed.to_owned(), prediction_advice(memory))
        })
    })
}

fn caught<T>(
    body: impl FnOnce() -> Result<T, StageError>,
    out_of_memory: impl FnOnce(String) -> OutOfMemory,
) -> Result<T, StageError> {
    let tell = |asked| StageError::OutOfMemory(Box::new(out_of_memory(asked)));
    match catch_unwind(AssertUnwindSafe(body)) {
        // Another worker's want of memory is not this one's.
        Ok(Err(
            error @ (StageError::Collective(_)
            | StageError::Reduction(ReductionError::Collective(_))
            | StageError::Interrupted(_)),
        )) => Err(error),
        Ok(Err(error)) => Err(shortage(&crate::with_causes(&error)).map_or(error, tell)),
        Ok(done) => done,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            match text.and_then(shortage) {
                Some(asked) => Err(tell(asked)),
                None => resume_unwind(panic),
            }
        }
    }
}

/// Whether a panic's text is libtorch's word for want of memory.
#[must_use]
pub fn says_out_of_memory(text: &str) -> bool {
    shortage(text).is_some()
}

/// What could not be had, if `text` is libtorch's word for want of memory.
fn shortage(text: &str) -> Option<String> {
    let after = |mark: &str| text.split_once(mark).map(|(_, rest)| rest);
    if let Some(rest) = after("CUDA out of memory. Tried to allocate ") {
        let size: Vec<&str> = rest.split_whitespace().take(2).collect();
        return Some(format!("{} were asked for", size.join(" ").trim_end_matches('.')));
    }
    if let Some(rest) = after("DefaultCPUAllocator: ") {
        let bytes: String = rest
            .split_once("tried to allocate ")
            .map_or("", |(_, rest)| rest)
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        return Some(match bytes.parse::<u64>() {
            Ok(bytes) => format!("{} were asked for", gib(bytes)),
            Err(_) => "memory was asked for".to_owned(),
        });
    }
    let says_one_of = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says_one_of(&[
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "unable to find an engine to execute",
    ]) {
        return Some("cuDNN or cuBLAS asked for a workspace".to_owned());
    }
    // The libraries load their kernels at their first use, from what the allocator has left of the device.
    if says_one_of(&[
        "CUDNN_STATUS_NOT_INITIALIZED",
        "CUBLAS_STATUS_NOT_INITIALIZED",
        "CUDA error: out of memory",
    ]) {
        return Some("CUDA, cuDNN or cuBLAS asked for memory of its own".to_owned());
    }
    None
}

/// `describe` gives the sizes of tensors and what to lower, for a device with so much memory.
fn out_of_memory(
    asked: String,
    at: String,
    device: Device,
    describe: impl FnOnce(Option<&DeviceMemory>) -> (String, String),
) -> OutOfMemory {
    let (place, memory) = match device {
        Device::Cuda(index) => (
            format!("cuda:{index}"),
            u8::try_from(index)
                .ok()
                .and_then(|index| cuda::memory(index).ok()),
        ),
        _ => ("the CPU".to_owned(), None),
    };
    let (shapes, advice) = describe(memory.as_ref());
    OutOfMemory {
        place,
        at,
        asked,
        held: memory.map_or_else(String::new, |memory| held(&memory)),
        shapes,
        advice,
    }
}

fn prediction_advice(memory: Option<&DeviceMemory>) -> String {
    let mut ways = vec!["scale the image down, or give --crop".to_owned()];
    match memory {
        Some(memory) if memory.reserved_bytes * 2 < memory.total_bytes => {
            ways.insert(0, END_OTHERS.to_owned());
            ways.push("compute on the CPU (--device cpu)".to_owned());
        }
        Some(_) => ways.push("compute on the CPU (--device cpu)".to_owned()),
        None => ways.push("end other programs of this host".to_owned()),
    }
    ways.join(", or ")
}

fn held(memory: &DeviceMemory) -> String {
    let others = memory
        .total_bytes
        .saturating_sub(memory.free_bytes + memory.reserved_bytes);
    format!(
        "; of its {} this worker holds {}, other processes and CUDA itself {}, and {} are free",
        gib(memory.total_bytes),
        gib(memory.reserved_bytes),
        gib(others),
        gib(memory.free_bytes)
    )
}

fn shapes(stage: Stage, config: &RunConfig) -> String {
    let shards = config.run.shards.unwrap_or(1).max(1);
    let classes = config.classes.count();
    let per_shard = |batch: u32| batch.div_ceil(shards.min(batch.max(1)));
    let step = |batch: u32, crop: u32| {
        format!(
            "a shard's images are [{}, 3, {crop}, {crop}], its logits [{0}, {classes}, {crop}, {crop}]",
            per_shard(batch)
        )
    };
    match stage {
        Stage::Pretrain => step(config.pretrain.batch, config.pretrain.crop),
        Stage::Simulate if config.simulate.styles == StyleSource::Images => {
            "images are measured whole and one at a time, [1, 3, height, width]".to_owned()
        }
        Stage::Simulate => {
            let (batch, crop) = (config.simulate.batch, config.simulate.crop);
            let (whose, logits) = match domains_at_once(config) {
                1 => ("one domain's".to_owned(), batch),
                domains => (format!("{domains} domains'"), batch.saturating_mul(domains)),
            };
            format!(
                "a shard's images are [{batch}, 3, {crop}, {crop}], {whose} logits [{logits}, {classes}, {crop}, {crop}]"
            )
        }
        Stage::Adapt => step(config.adapt.batch, config.adapt.crop),
        Stage::Evaluate => "whole images are scored one at a time, [1, 3, height, width]".to_owned(),
    }
}

/// Most domains of simulate that a shard computes as one batch.
fn domains_at_once(config: &RunConfig) -> u32 {
    let groups = config.simulate.prompt_groups.unwrap_or(1).max(1);
    let held = u32::try_from(config.domains.len())
        .unwrap_or(u32::MAX)
        .div_ceil(groups);
    config.simulate.domains_at_once.unwrap_or(1).min(held).max(1)
}

fn advice(stage: Stage, config: &RunConfig, memory: Option<&DeviceMemory>) -> String {
    let name = stage.name();
    let (batch, crop) = match stage {
        Stage::Simulate if config.simulate.styles == StyleSource::Images => {
            return "scale the images of the domains down, or put fewer workers on this host".to_owned();
        }
        Stage::Pretrain => (config.pretrain.batch, config.pretrain.crop),
        Stage::Simulate => (config.simulate.batch, config.simulate.crop),
        Stage::Adapt => (config.adapt.batch, config.adapt.crop),
        Stage::Evaluate => {
            return "give the sets a centre_crop, or fewer workers per host".to_owned();
        }
    };
    let mut ways = vec![format!("lower {name}.batch ({batch}) or {name}.crop ({crop})")];
    if stage == Stage::Simulate
        && config.simulate.styles == StyleSource::Learned
        && domains_at_once(config) > 1
    {
        let domains = config.simulate.domains_at_once.unwrap_or(1);
        ways.insert(0, format!("lower simulate.domains_at_once ({domains})"));
    }
    if stage == Stage::Pretrain {
        ways.push(format!(
            "lower pretrain.head_channels ({})",
            config.pretrain.head_channels
        ));
    }
    if matches!(stage, Stage::Pretrain | Stage::Adapt) {
        ways.push(format!(
            "raise run.shards ({}) and the workers with it",
            config.run.shards.unwrap_or(1)
        ));
    }
    match memory {
        Some(memory) if memory.reserved_bytes * 2 < memory.total_bytes => {
            ways.insert(0, END_OTHERS.to_owned());
        }
        Some(_) if config.compute.precision != ulda_run::spec::Precision::Bf16 => {
            ways.push("make compute.precision bf16".to_owned());
        }
        Some(_) => {}
        None => ways.push("put fewer workers on this host".to_owned()),
    }
    ways.join(", or ")
}

fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Kind, Tensor};

    fn told(stage: Stage, config: &RunConfig) -> OutOfMemory {
        let at = Cursor { stage, step: 7 };
        let asked = "1 GiB were asked for".to_owned();
        out_of_memory(asked, at.to_string(), Device::Cpu, |memory| {
            (shapes(stage, config), advice(stage, config, memory))
        })
    }

    #[test]
    fn libtorchs_words_are_understood_and_others_left_alone() {
        let gpu = "CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 79.11 GiB";
        assert_eq!(shortage(gpu).unwrap(), "1.50 GiB were asked for");
        for library in [
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
            "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
            "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "RuntimeError: GET was unable to find an engine to execute this computation",
            "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        ] {
            assert!(shortage(library).is_some(), "{library}");
        }
        assert_eq!(
            shortage("CUDA error: an illegal memory access was encountered"),
            None
        );
    }

    #[test]
    fn what_this_libtorch_says_when_memory_is_short_is_understood() {
        let huge = Tensor::f_zeros([1 << 50], (Kind::Float, Device::Cpu)).unwrap_err();
        assert_eq!(
            shortage(&huge.to_string()).as_deref(),
            Some("4194304.00 GiB were asked for"),
            "{huge}"
        );
        let panic = catch_unwind(|| Tensor::zeros([1 << 50], (Kind::Float, Device::Cpu))).unwrap_err();
        let text = panic.downcast_ref::<String>().expect("tch panics with a text");
        assert!(shortage(text).is_some(), "{text}");
    }

    #[test]
    fn the_sentence_names_stage_sizes_and_what_to_lower() {
        let mut config = RunConfig::default();
        config.run.shards = Some(4);
        let told = told(Stage::Adapt, &config);
        let (batch, crop) = (config.adapt.batch, config.adapt.crop);
        let text = told.to_string();
        assert!(text.starts_with("out of memory on the CPU in adapt"), "{text}");
        assert!(
            text.contains(&format!("[{}, 3, {crop}, {crop}]", batch.div_ceil(4))),
            "{text}"
        );
        let hint = told.hint().unwrap();
        assert!(
            hint.contains(&format!(
                "lower adapt.batch ({batch}) or adapt.crop ({crop}), or raise run.shards (4)"
            )),
            "{hint}"
        );
    }

    #[test]
    fn domains_computed_at_once_are_what_to_lower_first() {
        let mut config = RunConfig::default();
        let told = |config: &RunConfig| told(Stage::Simulate, config);
        config.domains = ["fog", "night", "rain", "snow", "dust"]
            .map(|name| ulda_run::spec::DomainConfig {
                name: name.parse().unwrap(),
                prompt: name.into(),
                images: Vec::new(),
            })
            .to_vec();
        let refused = told(&config);
        let text = refused.to_string();
        assert!(text.contains("one domain's logits [2, 19, 768, 768]"), "{text}");
        assert!(!refused.advice.contains("domains_at_once"), "{}", refused.advice);

        config.simulate.domains_at_once = Some(8);
        config.simulate.prompt_groups = Some(2);
        let refused = told(&config);
        let text = refused.to_string();
        assert!(text.contains("3 domains' logits [6, 19, 768, 768]"), "{text}");
        let lower = "lower simulate.domains_at_once (8), or lower simulate.batch (2)";
        assert!(refused.advice.starts_with(lower), "{}", refused.advice);
    }

    #[test]
    fn a_prediction_without_memory_is_told_whether_libtorch_panics_or_not() {
        const NEEDED: &str = "the network sees [1, 3, 2048, 4096]";
        let refused = |body: fn() -> Result<(), StageError>| {
            let error = prediction_within_memory(Device::Cpu, NEEDED, body).unwrap_err();
            (error.to_string(), error.hint().unwrap_or_default())
        };
        let panics = refused(|| {
            drop(Tensor::zeros([1 << 50], (Kind::Float, Device::Cpu)));
            Ok(())
        });
        let fails = refused(|| Ok(Tensor::f_zeros([1 << 50], (Kind::Float, Device::Cpu)).map(drop)?));
        assert_eq!(
            panics.0,
            "out of memory on the CPU in a prediction: 4194304.00 GiB were asked for; the network sees [1, 3, 2048, 4096]"
        );
        assert_eq!(fails, panics);
        assert!(
            panics.1.starts_with("scale the image down, or give --crop"),
            "{}",
            panics.1
        );
        let other = refused(|| Err(StageError::Interrupted("SIGTERM".into())));
        assert_eq!(other.0, "interrupted: SIGTERM");
    }

    #[test]
    fn a_gpu_that_others_fill_is_told() {
        let gib = 1 << 30;
        let memory = DeviceMemory {
            allocated_bytes: 5 * gib,
            allocated_peak_bytes: 5 * gib,
            reserved_bytes: 6 * gib,
            reserved_peak_bytes: 6 * gib,
            free_bytes: gib,
            total_bytes: 80 * gib,
            out_of_memory_count: 1,
        };
        assert_eq!(
            held(&memory),
            "; of its 80.00 GiB this worker holds 6.00 GiB, other processes and CUDA itself 73.00 GiB, and 1.00 GiB are free"
        );
        let advice = advice(Stage::Simulate, &RunConfig::default(), Some(&memory));
        assert!(
            advice.starts_with("end the other processes on this GPU, or lower simulate.batch"),
            "{advice}"
        );
    }
}
