#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    annex_engine_fuzz::links(bytes);
});
