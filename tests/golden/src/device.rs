//! Where the tests compute: on the CPU, or on the first GPU.

use std::sync::OnceLock;

use tch::Device;

/// The device that `ULDA_GOLDEN_DEVICE` names (`cpu` or `cuda`), the CPU by default. Panics when it names a GPU and
/// there is none. The first fixture asks, so that libtorch's CUDA part is loaded before anything needs it.
pub fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    *DEVICE.get_or_init(|| match std::env::var("ULDA_GOLDEN_DEVICE").as_deref() {
        Err(_) | Ok("cpu") => Device::Cpu,
        Ok("cuda") => {
            let loaded = ulda_torch::cuda::load();
            assert!(
                loaded && tch::Cuda::is_available(),
                "ULDA_GOLDEN_DEVICE is cuda, and there is no GPU"
            );
            ulda_torch::runtime::set_tf32(false).expect("a switch");
            ulda_torch::runtime::set_deterministic(true).expect("a switch");
            Device::Cuda(0)
        }
        Ok(other) => panic!("ULDA_GOLDEN_DEVICE is `{other}`; hint: cpu or cuda"),
    })
}

/// What tolerances are multiplied with: `ULDA_GOLDEN_SLACK`, 1 by default. The fixtures come from a CPU, and a GPU
/// cuts its sums otherwise.
pub fn slack() -> f64 {
    match std::env::var("ULDA_GOLDEN_SLACK") {
        Err(_) => 1.0,
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("ULDA_GOLDEN_SLACK is `{text}`; hint: a number such as 10")),
    }
}
