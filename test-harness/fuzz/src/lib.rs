//! What the fuzz targets check, as a library: `cargo test` runs the same checks on every seed and on a bounded number
//! of its mutations, so that a regression is seen without cargo-fuzz.
//!
//! Each [`Target`] takes bytes, runs an exchange of them through a filter's core, the transcoder's in one piece and in
//! pseudo-random chunks, and panics if the two differ, if the core breaks a rule of its hosts, or if the outcome is not
//! what an independent reader makes of the same bytes (`serde_json`, `prost`, the standard library's numbers).

mod answer;
mod claims;
mod compression;
mod generate;
mod json;
mod message;
mod mutate;
mod number;
mod openai;
mod predict;
mod request;
mod run;
mod seeds;
mod stream;

use message::{ModelInferRequest, ModelInferResponse};
use prost::Message as _;
use request::Expected;
use run::{Setup, assert_same, inference, is_refusal, run};
use std::sync::LazyLock;
use testkit::{Case, Chunking, frame, golden_cases, unframe};

pub use mutate::Mutator;

/// One of the things that are fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The reader of inference requests. Bytes: flags, a seed for the chunks, the length of the JSON part (2 bytes,
    /// little-endian, used if a flag says so), the body.
    Request,
    /// The reader of answers. Bytes: flags, a seed, the message.
    Answer,
    /// Whole exchanges after the golden cases. Bytes: which case (2 bytes, little-endian), which host and configuration, a
    /// seed, the length of the request's body (2 bytes, little-endian), that body, the data of the answer.
    Exchange,
    /// The reader of streams of answers. Bytes: which host and kind of message, a seed, the stream in its frames.
    Stream,
    /// Tokens, key sets and requests for `claim-headers`. Bytes: which part of these, that part.
    Claims,
    /// The reader of KServe v1's bodies. Bytes: which model, a seed for the chunks, the body.
    Predict,
    /// The reader of the bodies of Triton's `generate`. Bytes: which path, a seed for the chunks, the body.
    Generate,
    /// Compressed bodies and messages. Bytes: what is compressed and how, which host, a seed, what is compressed, or is
    /// already.
    Compression,
    /// Completions of OpenAI's API. Bytes: which part of these, and for a stream which host and kind of message; a seed for the
    /// chunks; the body, or the stream in its frames.
    OpenAi,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Request,
        Self::Answer,
        Self::Exchange,
        Self::Stream,
        Self::Claims,
        Self::Predict,
        Self::Generate,
        Self::Compression,
        Self::OpenAi,
    ];

    /// Its name among the fuzz targets.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Answer => "answer",
            Self::Exchange => "exchange",
            Self::Stream => "stream",
            Self::Claims => "claims",
            Self::Predict => "predict",
            Self::Generate => "generate",
            Self::Compression => "compression",
            Self::OpenAi => "openai",
        }
    }

    /// Inputs to begin with: of the transcoder made of the golden cases and of every datatype.
    #[must_use]
    pub fn seeds(self) -> Vec<Vec<u8>> {
        match self {
            Self::Request => seeds::requests(),
            Self::Answer => seeds::answers(),
            Self::Exchange => seeds::exchanges(),
            Self::Stream => stream::seeds(),
            Self::Claims => claims::seeds(),
            Self::Predict => predict::seeds(),
            Self::Generate => generate::seeds(),
            Self::Compression => compression::seeds(),
            Self::OpenAi => openai::seeds(),
        }
    }

    /// Checks an input; one that is too short for its fields is skipped.
    ///
    /// # Panics
    /// Something is wrong with the filter, or with what it is compared to.
    pub fn check(self, input: &[u8]) {
        match self {
            Self::Request => check_request(input),
            Self::Answer => check_answer(input),
            Self::Exchange => check_exchange(input),
            Self::Stream => stream::check(input),
            Self::Claims => claims::check(input),
            Self::Predict => predict::check(input),
            Self::Generate => generate::check(input),
            Self::Compression => compression::check(input),
            Self::OpenAi => openai::check(input),
        }
    }
}

/// Flags of a request.
const TYPED: u8 = 1;
const HAS_JSON_LENGTH: u8 = 2;

fn check_request(input: &[u8]) {
    let Some((&[flags, seed, low, high], body)) = input.split_first_chunk() else { return };
    if body.is_empty() {
        return;
    }
    let typed = flags & TYPED != 0;
    let json_length = (flags & HAS_JSON_LENGTH != 0).then(|| usize::from(u16::from_le_bytes([low, high])));
    let mut case = inference();
    case.request.body.bytes = body.to_vec();
    let length = json_length.map(|length| ("inference-header-content-length".to_owned(), length.to_string()));
    case.request.headers.extend(length);
    if let Some(answer) = &mut case.answer {
        answer.body.bytes = frame(&[]);
    }
    let setup = if typed { Setup::Typed } else { Setup::Native };
    let whole = run(&case, setup, Chunking::Whole);
    let cut = run(&case, setup, Chunking::Random(seed.into()));
    assert_same(&whole, &cut, &String::from_utf8_lossy(body));

    let found = match &whole.seen {
        Some(seen) if !is_refusal(&whole) => {
            let message = unframe(&seen.body).expect("the server gets one message");
            let decoded = ModelInferRequest::decode(message).expect("prost can read the message");
            assert_eq!(decoded.encode_to_vec(), message, "the message is not canonical");
            Some(decoded)
        }
        _ => None,
    };
    match (request::expected(body, json_length, typed), found) {
        (Expected::Unknown, _) => {}
        (Expected::Refused, None) => assert!(matches!(whole.got.status, 400 | 413), "{:?}", whole.got),
        // As bytes, in which one NaN is another.
        (Expected::Message(expected), Some(found)) if expected.encode_to_vec() == found.encode_to_vec() => {}
        (expected, found) => panic!("expected {expected:#?}\nfound {found:#?}\n{:?}", whole.got),
    }
}

/// Flags of an answer.
const BINARY: u8 = 1;
const LARGE: u8 = 0x80;

/// How much longer a message is made whose answer shall be written while it comes, in bytes.
const LARGE_BYTES: usize = 64 * 1024;

fn check_answer(input: &[u8]) {
    let Some((&[flags, seed], message)) = input.split_first_chunk() else { return };
    let binary = flags & BINARY != 0;
    let setup = [Setup::Native, Setup::Proto, Setup::Wasm][usize::from((flags & !LARGE) >> 1) % 3];
    let mut case = inference();
    let asks =
        if binary { r#"{"inputs":[],"parameters":{"binary_data_output":true}}"# } else { r#"{"inputs":[]}"# };
    case.request.body.bytes = asks.into();
    if let Some(answer) = &mut case.answer {
        answer.body.bytes = frame(message);
    }
    let whole = run(&case, setup, Chunking::Whole);
    let cut = run(&case, setup, Chunking::Random(seed.into()));
    assert_same(&whole, &cut, &message);
    if flags & LARGE != 0 {
        check_large(case, setup, seed, message, &whole);
    }

    let Ok(decoded) = ModelInferResponse::decode(message) else { return };
    if setup != Setup::Native {
        return;
    }
    let body = &whole.got.body;
    match answer::expected(&decoded, binary) {
        None => assert!(is_refusal(&whole), "{decoded:#?} is not refused: {}", String::from_utf8_lossy(body)),
        Some((expected, tail)) => {
            let said = String::from_utf8_lossy(body);
            if is_refusal(&whole) && said.contains("unknown wire type") {
                return;
            }
            assert_eq!(whole.got.status, 200, "{decoded:#?}\n{said}");
            let json = body.len().checked_sub(tail.len()).expect("all of the binary tensors are there");
            let (json, found_tail) = body.split_at(json);
            assert_eq!(found_tail, tail, "{decoded:#?}");
            if let Some(length) = header(&whole.got.headers, "inference-header-content-length") {
                assert_eq!(length, json.len().to_string());
            }
            match json::Json::read(json) {
                Ok(found) => assert!(answer::same(&found, &expected), "{found:?}\n{expected:?}"),
                Err(json::NoTree::Unknown) => {}
                Err(json::NoTree::Invalid) => panic!("no JSON: {said}"),
            }
        }
    }
}

/// The same answer to the same message, made large by a field that means nothing, so that the answer is written while the
/// message comes. `held` is what came of the message as it was.
fn check_large(mut case: Case, setup: Setup, seed: u8, message: &[u8], held: &testkit::Outcome) {
    // Field 15, of bytes.
    let mut large = vec![15 << 3 | 2];
    prost::encoding::encode_varint(LARGE_BYTES as u64, &mut large);
    large.resize(large.len() + LARGE_BYTES, 0);
    large.extend_from_slice(message);
    if let Some(answer) = &mut case.answer {
        answer.body.bytes = frame(&large);
    }
    let whole = run(&case, setup, Chunking::Whole);
    let cut = run(&case, setup, Chunking::Random(seed.into()));
    // A field that comes after the contents it should have come before: by then the answer may have begun or not,
    // which depends on how the message is cut, and an answer that has begun is reset.
    let in_order = ModelInferResponse::decode(message).is_ok_and(|decoded| {
        let typed =
            |output: &message::Tensor| output.contents.as_ref().is_some_and(|c| *c != Default::default());
        let twice = !decoded.raw_output_contents.is_empty() && decoded.outputs.iter().any(typed);
        !twice && decoded.encode_to_vec() == message
    });
    if in_order {
        assert_same(&whole, &cut, &message);
    }
    for large in [whole, cut] {
        let (got, expected) = (&large.got, &held.got);
        let failed = |got: &testkit::Got| got.reset || got.status >= 400;
        if failed(expected) {
            assert!(failed(got), "{setup:?}: {held:?}\n{large:?}");
        } else if got.reset {
            assert!(!in_order, "{setup:?}: {held:?}\n{large:?}");
        } else {
            assert_eq!(
                (got.status, &got.body),
                (expected.status, &expected.body),
                "{setup:?}: {message:02x?}"
            );
        }
    }
}

fn header(headers: &testkit::Headers, name: &str) -> Option<String> {
    let found = headers.iter().find(|(found, _)| found == name.as_bytes());
    found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
}

static GOLDEN: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let cases = golden_cases().expect("the golden cases are well formed");
    cases.into_iter().filter(|case| case.filter == "kserve_transcoder").collect()
});

fn check_exchange(input: &[u8]) {
    let Some((&[a, b, setup, seed, low, high], rest)) = input.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
    let (body, data) = rest.split_at(length);
    let mut case = GOLDEN[usize::from(u16::from_le_bytes([a, b])) % GOLDEN.len()].clone();
    case.request.body = testkit::Body { bytes: body.to_vec(), ..Default::default() };
    let answer = case.answer.get_or_insert_with(|| inference().answer.expect("it has one"));
    (answer.message, answer.message_hex) = (None, None);
    (answer.messages, answer.messages_hex) = (Vec::new(), Vec::new());
    answer.body = testkit::Body { bytes: data.to_vec(), ..Default::default() };
    let setup = Setup::ALL[usize::from(setup) % Setup::ALL.len()];
    let whole = run(&case, setup, Chunking::Whole);
    for chunking in [Chunking::Random(seed.into()), Chunking::Bytes] {
        let cut = run(&case, setup, chunking);
        assert_same(&whole, &cut, &(&case.name, setup, chunking));
    }
}
