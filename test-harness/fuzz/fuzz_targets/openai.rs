//! See `fuzz::Target::OpenAi`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::Target::OpenAi.check(input));
