//! See `reprise_engine::fuzz::session`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| reprise_engine::fuzz::session(data));
