//! See `reprise_engine::fuzz::value`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| reprise_engine::fuzz::value(data));
