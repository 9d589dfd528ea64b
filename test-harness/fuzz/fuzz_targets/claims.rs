//! See `fuzz::Target::Claims`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::Target::Claims.check(input));
