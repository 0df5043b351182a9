#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    annex_runner_fuzz::page(bytes);
});
