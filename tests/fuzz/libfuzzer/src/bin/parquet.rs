#![no_main]

// What the decoder panics of is caught and told as damage; only what nobody catches is a fault.
libfuzzer_sys::fuzz_target!(init: { drop(std::panic::take_hook()) }, |data: &[u8]| ferrobase_fuzz::parquet(data));
