//! See `fuzz::Target::Compression`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::Target::Compression.check(input));
