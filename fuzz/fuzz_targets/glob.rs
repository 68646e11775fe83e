//! See `reprise_engine::fuzz::glob`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| reprise_engine::fuzz::glob(data));
