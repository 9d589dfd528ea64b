//! The checks of the fuzz targets on every seed, and on a bounded number of mutations that are the same each time.

use fuzz::{Mutator, Target};
use std::panic::catch_unwind;

const MUTATIONS: u64 = 6_000;

#[test]
fn every_seed_of_a_request_is_read_as_others_read_it() {
    seeds(Target::Request);
}

#[test]
fn every_seed_of_an_answer_is_read_as_others_read_it() {
    seeds(Target::Answer);
}

#[test]
fn every_golden_exchange_is_the_same_in_any_chunks() {
    seeds(Target::Exchange);
}

#[test]
fn every_seed_of_a_stream_is_read_as_others_read_it() {
    seeds(Target::Stream);
}

#[test]
fn mutated_streams_are_read_as_others_read_them() {
    mutations(Target::Stream);
}

#[test]
fn every_seed_of_claims_is_judged_as_others_judge_it() {
    seeds(Target::Claims);
}

#[test]
fn mutated_claims_are_judged_as_others_judge_them() {
    mutations(Target::Claims);
}

#[test]
fn every_seed_of_kserve_v1_is_the_tensors_that_v2_has() {
    seeds(Target::Predict);
}

#[test]
fn mutated_bodies_of_kserve_v1_are_the_tensors_that_v2_has() {
    mutations(Target::Predict);
}

#[test]
fn every_seed_of_generate_is_the_request_that_v2_has() {
    seeds(Target::Generate);
}

#[test]
fn mutated_bodies_of_generate_are_the_requests_that_v2_has() {
    mutations(Target::Generate);
}

#[test]
fn every_seed_that_is_compressed_is_what_it_is_without_that() {
    seeds(Target::Compression);
}

#[test]
fn mutations_of_what_is_compressed_are_what_they_are_without_that() {
    mutations(Target::Compression);
}

#[test]
fn every_seed_of_openais_api_is_what_a_second_reader_makes_of_it() {
    seeds(Target::OpenAi);
}

#[test]
fn mutated_completions_are_what_a_second_reader_makes_of_them() {
    mutations(Target::OpenAi);
}

#[test]
fn mutated_requests_are_read_as_others_read_them() {
    mutations(Target::Request);
}

#[test]
fn mutated_answers_are_read_as_others_read_them() {
    mutations(Target::Answer);
}

#[test]
fn mutated_exchanges_are_the_same_in_any_chunks() {
    mutations(Target::Exchange);
}

/// Inputs that failed once, each with a test of its own where the fault was (`filters/kserve-transcoder`).
const FOUND: &[(Target, &[u8])] = &[
    // A binary answer to an empty message, in wasm.
    (Target::Answer, b"\x05\x01"),
    // A form feed behind the document, cut off from it.
    (Target::Exchange, b"\x02\0\x75\0\x01\0\x0c\0-Infinity"),
    (Target::Request, b"\0\x05\0\0{\"inputs\":[]}\x0c"),
    // A blank behind the last binary tensor, cut off from it.
    (Target::Request, b"\x02\x05\x0d\0{\"inputs\":[]}\n"),
    // Bytes of BOOL that are neither 0 nor 1, for typed contents.
    (
        Target::Request,
        b"\x03\x01\x5b\0{\"inputs\":[{\"name\":\"x\",\"datatype\":\"BOOL\",\"shape\":[2],\"parameters\":{\"binary_data_size\":2}}]}\x80\x01",
    ),
    // An empty packed field of typed contents beside a filled one.
    (Target::Answer, b"\0\x01\x2a\x11\x12\x05INT32\x1a\x01\x01\x2a\x05\x32\0\x12\x01\x07"),
    // An FP32 in the very middle of two texts of eight digits, which the second reader rounded up.
    (
        Target::Answer,
        b"\0\x01\x0a\x06affine\x12\x011\x1a\x0242*\x0d\x0a\x01y\x12\x04FP32\x1a\x02\x01\x022\x08\0\x80\xc0?\xcd\xcc\xcc=",
    ),
];

#[test]
fn what_failed_once_does_not_fail_again() {
    for (target, input) in FOUND {
        check(*target, input);
    }
}

#[test]
fn every_golden_case_whose_data_are_short_is_a_seed_of_its_own() {
    let seeds = Target::Exchange.seeds();
    let cases: std::collections::HashSet<_> = seeds.iter().map(|seed| [seed[0], seed[1]]).collect();
    assert!(cases.len() > 256, "only {} cases", cases.len());
}

fn seeds(target: Target) {
    let seeds = target.seeds();
    assert!(seeds.len() > 50, "only {} seeds", seeds.len());
    for seed in seeds {
        check(target, &seed);
    }
}

fn mutations(target: Target) {
    let seeds = target.seeds();
    for number in 0..MUTATIONS {
        let at = |factor: u64| &seeds[(number * factor % seeds.len() as u64) as usize];
        let mut input = at(1).clone();
        Mutator::new(number).mutate(&mut input, at(31));
        check(target, &input);
    }
}

/// Says which input it was, if it was one.
fn check(target: Target, input: &[u8]) {
    if catch_unwind(|| target.check(input)).is_err() {
        panic!("{target:?} fails on {:?}\n{input:?}", String::from_utf8_lossy(input));
    }
}
