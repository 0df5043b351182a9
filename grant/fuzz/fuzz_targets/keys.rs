#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| annex_grant_fuzz::keys(bytes));
