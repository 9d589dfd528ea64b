//! See `fuzz::Target::Exchange`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::Target::Exchange.check(input));
