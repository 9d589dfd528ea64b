//! OpenAI's completions, read a second time: the message that a body becomes, and the events that a stream of messages becomes.

mod body;
mod chunks;

use crate::run::{Setup, assert_same, inference, is_refusal, run};
use body::Expected;
use prost::Message as _;
use testkit::{Case, Chunking, Column, frame, unframe};

/// A stream, and not a body.
const STREAM: u8 = 1;
/// Its request has two prompts.
const TWO: u8 = 2;
/// And asks for the tokens.
const USAGE: u8 = 4;

/// The mapping of every [`Setup`], whose server and host say what can be had of it.
pub(crate) fn key(column: Column) -> String {
    // Without held headers all completions go to one method.
    let stream = if column == Column::Wasm { "required" } else { "optional" };
    let hold = if column == Column::WasmHold { r#""hold_request_headers": true, "# } else { "" };
    let completions = format!(
        r#"{{"text": {{"name": "in"}}, "tokens": {{"name": "ids", "datatype": "INT32"}}, "pad": 7, "mask": {{"name": "mask"}},
            "output": "out", "stream": "{stream}", "finish_reason": "why", "prompt_tokens": "read",
            "completion_tokens": "written", "max_inputs": 3, "parameters": [
                {{"parameter": "max_tokens", "name": "max", "datatype": "INT32", "default": 16}},
                {{"parameter": "stop", "name": "end", "datatype": "BYTES", "shape": [-1, -1]}}],
            "constants": [{{"name": "flag", "datatype": "BOOL", "value": true, "shape": [1]}}]}}"#
    );
    format!(
        r#"{hold}"openai": {{"models": [{{"id": "told", "model": "m", "completions": {completions}}}]}}, "#
    )
}

/// Flags, a seed for the chunks, and a body or the stream in its frames.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let bodies =
        body::SEEDS.iter().flat_map(|body| [1, 2].map(|seed| [&[0, seed], body.as_bytes()].concat()));
    let streams = chunks::seeds().into_iter().flat_map(|(wrapped, stream)| {
        let setups = (0..Setup::OPENAI.len() as u8).filter(move |setup| is_wrapped(*setup) == wrapped);
        setups
            .flat_map(move |setup| {
                [0, TWO, USAGE, TWO | USAGE]
                    .map(|flags| [&[STREAM | flags | setup << 3, 1][..], &stream].concat())
            })
            .collect::<Vec<_>>()
    });
    bodies.chain(streams).collect()
}

fn setup(number: u8) -> Setup {
    Setup::OPENAI[usize::from(number) % Setup::OPENAI.len()]
}

fn is_wrapped(number: u8) -> bool {
    setup(number) == Setup::OpenAiTriton
}

/// Checks an input; one that is too short for its fields is skipped.
pub(crate) fn check(input: &[u8]) {
    let Some((&[flags, seed], rest)) = input.split_first_chunk() else { return };
    match flags & STREAM {
        0 => check_body(seed, rest),
        _ => check_stream(flags, seed, rest),
    }
}

fn case(body: &[u8], stream: &[u8]) -> Case {
    let mut case = inference();
    case.request.path = "/openai/v1/completions".to_owned();
    case.request.body.bytes = body.to_vec();
    if let Some(answer) = &mut case.answer {
        answer.body.bytes = stream.to_vec();
    }
    case
}

fn check_body(seed: u8, body: &[u8]) {
    let case = case(body, &frame(&[]));
    let whole = run(&case, Setup::OpenAiNative, Chunking::Whole);
    let cut = run(&case, Setup::OpenAiNative, Chunking::Random(seed.into()));
    // Of two faults, the one that is seen first may be a name that is unknown (404), for which the rest is not waited for.
    if !(is_refusal(&whole) && is_refusal(&cut)) {
        assert_same(&whole, &cut, &String::from_utf8_lossy(body));
    }
    let seen = whole.seen.as_ref().filter(|seen| !seen.body.is_empty());
    match (body::expected(body), seen) {
        (Expected::Unknown, _) => {}
        (Expected::Refused, None) => {
            assert!(
                [&whole, &cut].iter().all(|outcome| is_refusal(outcome) && outcome.got.status < 500),
                "{whole:?}\n{cut:?}"
            );
        }
        (Expected::Message(expected, stream), Some(seen)) => {
            let message = unframe(&seen.body).expect("the server gets one message");
            assert_eq!(message, expected.encode_to_vec(), "{}", String::from_utf8_lossy(body));
            let method = if stream { "ModelStreamInfer" } else { "ModelInfer" };
            let path = seen.headers.iter().find(|(name, _)| name == b":path").map(|(_, path)| path.clone());
            assert_eq!(path, Some(format!("/inference.GRPCInferenceService/{method}").into_bytes()));
        }
        (expected, seen) => panic!("{}: expected {expected:?}\nseen {seen:?}", String::from_utf8_lossy(body)),
    }
}

fn check_stream(flags: u8, seed: u8, stream: &[u8]) {
    let inputs = if flags & TWO == 0 { 1 } else { 2 };
    let usage = flags & USAGE != 0;
    let prompts = ["a", "b"];
    let body = serde_json::json!({
        "model": "told", "prompt": prompts[..inputs], "stream": true, "stream_options": { "include_usage": usage },
    });
    let case = case(body.to_string().as_bytes(), stream);
    let number = flags >> 3;
    let whole = run(&case, setup(number), Chunking::Whole);
    for chunking in [Chunking::Random(seed.into()), Chunking::Bytes] {
        assert_same(&whole, &run(&case, setup(number), chunking), &(setup(number), stream));
    }
    chunks::check(&whole.got, stream, setup(number), is_wrapped(number), inputs, usage);
}
