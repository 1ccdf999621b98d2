//! libFuzzer over one of the targets, which `ULDA_FUZZ_TARGET` names.

#![no_main]

use std::sync::OnceLock;

use ulda_fuzz::Target;

fn target() -> &'static Target {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("ULDA_FUZZ_TARGET").unwrap_or_default();
        let Some(target) = Target::of(&name) else {
            eprintln!(
                "error: ULDA_FUZZ_TARGET names none of: {}",
                Target::names().join(", ")
            );
            std::process::exit(2);
        };
        target
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = target().take(bytes);
});
