//! The fuzzer: `PCAPDOC_FUZZ_TARGET` names one of the targets.
#![no_main]

#[cfg(feature = "report")]
mod report;
mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use targets::Target;

fn target() -> Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    *TARGET.get_or_init(|| {
        let name = std::env::var("PCAPDOC_FUZZ_TARGET").unwrap_or_default();
        #[cfg(feature = "report")]
        if name == "report" {
            return report::report as Target;
        }
        targets::TARGETS
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| panic!("PCAPDOC_FUZZ_TARGET names no target: {name:?}"))
            .1
    })
}

fuzz_target!(|bytes: &[u8]| target()(bytes));
