//! See `reprise_engine::fuzz::acl`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| reprise_engine::fuzz::acl(data));
