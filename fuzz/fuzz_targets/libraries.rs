//! See `reprise_engine::fuzz::libraries`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| reprise_engine::fuzz::libraries(data));
