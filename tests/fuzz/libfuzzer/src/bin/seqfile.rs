#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrobase_fuzz::seqfile(data));
