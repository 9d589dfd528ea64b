//! Runs one exchange through the transcoder's core.

use crate::openai;
use kserve_transcoder::KserveTranscoder;
use std::sync::LazyLock;
use testkit::{Case, Chunking, Column, Core, Outcome};

/// How a core is configured and hosted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// Natively, with the default configuration.
    Native,
    /// With typed contents to the server.
    Typed,
    /// With answers in protobuf's JSON.
    Proto,
    /// In wasm, with answers as they come.
    Wasm,
    /// In wasm, with headers held.
    WasmHold,
    /// Natively, with MLServer's streams.
    StreamNative,
    /// Natively, with Triton's streams.
    StreamTriton,
    /// In wasm, with MLServer's streams.
    StreamWasm,
    /// The same with headers held.
    StreamWasmHold,
    /// Natively, with OpenAI's API in front of MLServer.
    OpenAiNative,
    /// The same in front of Triton.
    OpenAiTriton,
    /// In wasm, with OpenAI's API in front of MLServer.
    OpenAiWasm,
    /// The same with headers held.
    OpenAiWasmHold,
}

impl Setup {
    /// Those without streams.
    pub(crate) const ALL: [Self; 5] = [Self::Native, Self::Typed, Self::Proto, Self::Wasm, Self::WasmHold];

    /// Those with streams.
    pub(crate) const STREAMS: [Self; 4] =
        [Self::StreamNative, Self::StreamTriton, Self::StreamWasm, Self::StreamWasmHold];

    /// Those with OpenAI's API.
    pub(crate) const OPENAI: [Self; 4] =
        [Self::OpenAiNative, Self::OpenAiTriton, Self::OpenAiWasm, Self::OpenAiWasmHold];

    fn core(self) -> Core<KserveTranscoder> {
        let (column, keys) = match self {
            Self::Native => (Column::Native, ""),
            Self::Typed => (Column::Native, r#""tensor_encoding": "contents", "#),
            Self::Proto => (Column::Native, r#""answer_form": "proto", "#),
            Self::Wasm => (Column::Wasm, ""),
            Self::WasmHold => (Column::WasmHold, r#""hold_response_headers": true, "#),
            Self::StreamNative => (Column::Native, r#""stream_messages": "mlserver", "#),
            Self::StreamTriton => (Column::Native, r#""stream_messages": "triton", "#),
            Self::StreamWasm => (Column::Wasm, r#""stream_messages": "mlserver", "#),
            Self::StreamWasmHold => {
                (Column::WasmHold, r#""stream_messages": "mlserver", "hold_response_headers": true, "#)
            }
            Self::OpenAiNative => (Column::Native, r#""stream_messages": "mlserver", "#),
            Self::OpenAiTriton => (Column::Native, r#""stream_messages": "triton", "#),
            Self::OpenAiWasm => (Column::Wasm, r#""stream_messages": "mlserver", "#),
            Self::OpenAiWasmHold => {
                (Column::WasmHold, r#""stream_messages": "mlserver", "hold_response_headers": true, "#)
            }
        };
        let openai = if Self::OPENAI.contains(&self) { openai::key(column) } else { String::new() };
        let config = format!(r#"{{{keys}{openai}"kserve_v1": {{"models": [{MODELS}]}}}}"#);
        Core::configure(&config, column).expect("the configuration is right")
    }
}

/// The inputs of models, for bodies of KServe v1 and of `generate`: those of golden cases that have them in their own
/// configuration, and two more.
const MODELS: &str = r#"
    {"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}]},
    {"name": "named", "inputs": [
        {"name": "id", "datatype": "INT64", "shape": [-1]},
        {"name": "text", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "unused", "datatype": "FP32", "shape": [-1]}]},
    {"name": "deep", "inputs": [{"name": "x", "datatype": "INT8", "shape": [-1, -1, 2]}]},
    {"name": "llm", "inputs": [
        {"name": "text_input", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "n", "datatype": "INT32", "shape": [1]},
        {"name": "top", "datatype": "FP32", "shape": [-1, 2]}]}"#;

thread_local! {
    // One for each thread, because a core's memory is counted after every exchange.
    static CORES: Vec<Core<KserveTranscoder>> =
        Setup::ALL.into_iter().chain(Setup::STREAMS).chain(Setup::OPENAI).map(Setup::core).collect();
}

/// Runs an exchange.
///
/// # Panics
/// The core panics, breaks a rule of its hosts, or does not give back all memory.
pub(crate) fn run(case: &Case, setup: Setup, chunking: Chunking) -> Outcome {
    let outcome = CORES.with(|cores| cores[setup as usize].run(case, chunking));
    outcome.unwrap_or_else(|broken| panic!("{broken} ({setup:?}, {chunking:?})"))
}

/// An inference request without a body, and an answer of status 200 without data.
pub(crate) fn inference() -> Case {
    static CASE: LazyLock<Case> = LazyLock::new(|| {
        let text = r#"
            story = "a program made this"
            [request]
            method = "POST"
            path = "/v2/models/m/infer"
            [answer]
            [expect]
        "#;
        Case::parse("made", text).expect("the case is right")
    });
    CASE.clone()
}

/// Whether an outcome is an error that the filter made, as the protocol has errors.
pub(crate) fn is_refusal(outcome: &Outcome) -> bool {
    let error = || {
        let body: serde_json::Value = serde_json::from_slice(&outcome.got.body).unwrap_or_default();
        let error = body["error"].as_str().or_else(|| body["error"]["message"].as_str());
        error.is_some_and(|error| !error.is_empty())
    };
    // The answer to a HEAD has no body, only the length of the one that a GET would get.
    let of_a_head = || outcome.got.body.is_empty();
    // What Envoy makes of a filter's reply to a request that calls itself gRPC.
    let in_grpcs_form =
        outcome.got.headers.iter().any(|(name, value)| name == b"grpc-status" && value != b"0");
    !outcome.got.reset && (in_grpcs_form || outcome.got.status >= 400 && (of_a_head() || error()))
}

/// What differs between what a client gets of the same exchange, cut in two ways; a cut answer may be cut elsewhere.
pub(crate) fn assert_same(whole: &Outcome, cut: &Outcome, context: &dyn std::fmt::Debug) {
    let told =
        |outcome: &Outcome| (outcome.got.status, outcome.got.headers.clone(), outcome.got.body.clone());
    if whole.got.reset || cut.got.reset {
        // Never a clean success in one way and a failure in the other.
        let failed = |outcome: &Outcome| outcome.got.reset || outcome.got.status >= 400;
        assert!(failed(whole) && failed(cut), "{whole:?}\n{cut:?}\n{context:?}");
        return;
    }
    if is_refusal(whole) && is_refusal(cut) {
        // Of two faults the one that is seen first is told, and a server may have been asked before that.
        assert_eq!(whole.got.status, cut.got.status, "{context:?}");
    } else {
        assert_eq!(told(whole), told(cut), "{context:?}");
        let asked =
            |outcome: &Outcome| outcome.seen.as_ref().map(|seen| (seen.headers.clone(), seen.body.clone()));
        assert_eq!(asked(whole), asked(cut), "{context:?}");
    }
}
