//! See `fuzz::Target::Stream`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::Target::Stream.check(input));
