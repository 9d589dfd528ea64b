//! See `fuzz::Target::Answer`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::Target::Answer.check(input));
