//! The clients of the matrix, and what they must be told: worked out by hand from what their scripts send.
//!
//! A client is a script of `python/` and an entry here.

use super::servers::{Kind, Server, Serves};
use crate::openai;
use e2e::{kserve_python, models_python};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use testkit::Column;

pub(crate) struct Client {
    /// As the page names it, behind the package and its version.
    pub(crate) speaks: &'static str,
    /// In `python/`. It takes endpoints, and prints what each told it, by the names of its calls.
    pub(crate) script: &'static str,
    pub(crate) python: Python,
    pub(crate) asks: Serves,
    /// Where a server itself speaks the client's protocol.
    pub(crate) own: fn(Kind, &Server) -> Option<SocketAddr>,
    /// What each call must be told.
    pub(crate) expected: fn(&Told) -> Value,
    /// What servers themselves cannot do, which is seen where they speak the protocol.
    pub(crate) limits: &'static [Limit],
}

/// The environment that a client is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Python {
    Models,
    Kserve,
    Openai,
}

impl Python {
    /// Its interpreter, or the variable that would name it.
    pub(crate) fn here(self) -> Result<PathBuf, &'static str> {
        match self {
            Self::Models => models_python().ok_or("MODELS_PYTHON"),
            Self::Kserve => kserve_python().ok_or("KSERVE_PYTHON"),
            Self::Openai => openai::python().ok_or("OPENAI_PYTHON"),
        }
    }
}

pub(crate) struct Limit {
    pub(crate) server: Kind,
    /// The names of its calls, or none for all of them.
    pub(crate) calls: &'static [&'static str],
    pub(crate) why: &'static str,
}

/// What a client was told, and where.
pub(crate) struct Told<'a> {
    pub(crate) kind: Kind,
    /// The host, or none at the server's own port.
    pub(crate) column: Option<Column>,
    /// By the server itself, where it speaks the protocol.
    pub(crate) own: Option<&'a Value>,
}

pub(crate) const CLIENTS: [Client; 11] = [
    Client {
        speaks: "http and http.aio: KServe v2 with JSON and binary tensors, plain and compressed",
        script: "triton_client.py",
        python: Python::Models,
        asks: Serves::All,
        own: http,
        expected: |_| tritons_http(),
        limits: &[],
    },
    Client {
        speaks: "grpc and grpc.aio",
        script: "triton_grpc_client.py",
        python: Python::Models,
        asks: Serves::All,
        own: grpc,
        expected: |_| tritons_grpc(),
        limits: &[],
    },
    Client {
        speaks: "grpc and grpc.aio, streaming",
        script: "triton_stream_client.py",
        python: Python::Models,
        asks: Serves::All,
        own: grpc,
        expected: |_| tritons_streams(),
        limits: &[
            Limit {
                server: Kind::MlServer,
                calls: &[],
                why: "its messages are others than Triton's, and this client cannot read them",
            },
            Limit { server: Kind::Kserve, calls: &[], why: "it has no streams" },
        ],
    },
    Client {
        speaks: "REST, v1",
        script: "kserve_v1_client.py",
        python: Python::Kserve,
        asks: Serves::All,
        own: |_, _| None,
        expected: |_| kserves_v1(),
        limits: &[],
    },
    Client {
        speaks: "REST, v2 with JSON and binary tensors",
        script: "kserve_v2_client.py",
        python: Python::Kserve,
        asks: Serves::All,
        own: http,
        expected: |_| kserves_v2(),
        limits: &[],
    },
    Client {
        speaks: "gRPC",
        script: "kserve_grpc_client.py",
        python: Python::Kserve,
        asks: Serves::All,
        own: grpc,
        expected: |_| kserves_grpc(),
        limits: &[],
    },
    Client {
        speaks: "codecs: NumPy, Pandas, strings, base64, datetime",
        script: "codecs_client.py",
        python: Python::Models,
        asks: Serves::All,
        own: http,
        expected: codecs,
        limits: &[],
    },
    Client {
        speaks: "models, embeddings, completions",
        script: "openai_texts_client.py",
        python: Python::Openai,
        asks: Serves::All,
        own: |_, _| None,
        expected: |_| openais(),
        limits: &[],
    },
    Client {
        speaks: "completions in pieces",
        script: "openai_pieces_client.py",
        python: Python::Openai,
        asks: Serves::Pieces,
        // Of OpenAI's API this server has only the completions of large language models.
        own: |kind, server| (kind == Kind::Kserve).then(|| server.http()),
        expected: |_| openais_pieces(),
        limits: &[Limit { server: Kind::Kserve, calls: &[], why: "it has no streams" }],
    },
    Client {
        speaks: "server-sent events of `infer_stream`",
        script: "events_client.py",
        python: Python::Models,
        asks: Serves::All,
        own: |kind, server| (kind != Kind::Triton).then(|| server.http()),
        expected: events,
        limits: &[Limit { server: Kind::Kserve, calls: &[], why: "it has no streams" }],
    },
    Client {
        speaks: "Triton's `generate` and `generate_stream`",
        script: "generate_client.py",
        python: Python::Models,
        asks: Serves::All,
        own: http,
        expected: |_| generate(),
        limits: &[
            Limit {
                server: Kind::MlServer,
                calls: &[],
                why: "under this name it has `infer`, with the body of that",
            },
            Limit { server: Kind::Kserve, calls: &[], why: "it is an extension of Triton's" },
        ],
    },
];

fn http(_: Kind, server: &Server) -> Option<SocketAddr> {
    Some(server.http())
}

fn grpc(_: Kind, server: &Server) -> Option<SocketAddr> {
    Some(server.grpc())
}

/// By `weights.json` from `telling.py`'s X, exact in float32.
fn affine() -> Value {
    json!([[4.875, -0.5, 13.5625], [127.375, -503.625, 1002.03125]])
}

/// What becomes of the arrays of `telling.py` in the models that all servers have.
fn tensors() -> [(&'static str, Value); 5] {
    let decimals = [0.1f32, 3e38, 1e-45].map(f64::from);
    [
        ("affine", affine()),
        ("concat", json!(["grpc", "h\u{e9}llo \u{1f600}"])),
        ("int64", json!([[i64::MIN, 0, i64::MAX]])),
        ("bool", json!([[true], [false]])),
        ("decimals", json!([decimals])),
    ]
}

fn no_text() -> Value {
    json!([["00fffe", "", "c3"]])
}

fn refused(status: impl Into<Value>) -> Value {
    json!({ "status": status.into(), "said": true })
}

fn tritons_http() -> Value {
    let inputs = json!([{ "name": "x", "datatype": "FP32", "shape": [-1, 4] }]);
    let mut told = json!({
        "live": true, "ready": true, "model ready": true, "nobody ready": false,
        "inputs": inputs,
        "binary: no text": no_text(),
    });
    for form in ["JSON", "binary"] {
        for (call, value) in tensors() {
            told[format!("{form}: {call}")] = value;
        }
        for coding in ["plain", "gzip", "deflate"] {
            told[format!("{form}: large, {coding}")] = true.into();
        }
        told[format!("{form}: id")] = "triton-1".into();
        told[format!("{form}: asynchronous")] = json!([true, inputs, true]);
        told[format!("{form}: unknown model")] = refused("404");
        told[format!("{form}: wrong shape")] = refused("400");
    }
    told
}

fn tritons_grpc() -> Value {
    let mut told = json!({
        "live": true, "ready": true, "model ready": true,
        // Protobuf's JSON has int64 as strings.
        "inputs": [{ "name": "x", "datatype": "FP32", "shape": ["-1", "4"] }],
        "no text": no_text(),
        "in another thread": [affine()],
        "asynchronous": [true, affine()],
        "unknown model": refused("StatusCode.NOT_FOUND"),
        "wrong shape": refused("StatusCode.INVALID_ARGUMENT"),
    });
    for (call, value) in tensors() {
        told[call] = value;
    }
    for coding in ["plain", "gzip", "deflate"] {
        told[format!("large, {coding}")] = true.into();
    }
    told
}

fn tritons_streams() -> Value {
    let words = |words: &[&str]| words.iter().map(|word| json!({ "word": [word] })).collect::<Value>();
    json!({
        "a stream": words(&["to", "be", "or"]),
        "two requests on one stream": words(&["to", "be", "or", "not"]),
        "asynchronous": words(&["to", "be", "or", "not"]),
        "an error on the way": [{ "word": ["to"] }, { "error": "the model lost its thread" }],
        "unknown model": [{ "error": "Request for unknown model: 'nobody' is not found" }],
    })
}

fn kserves_v1() -> Value {
    json!({
        "model ready": true,
        "instances": { "predictions": affine() },
        "instances by name": { "predictions": affine() },
        "inputs": { "outputs": affine() },
        "words": { "predictions": ["grpc", "h\u{e9}llo \u{1f600}"] },
        "unknown model": refused(404),
        "wrong shape": refused(400),
    })
}

fn kserves_v2() -> Value {
    let mut told = json!({
        "live": true, "ready": true, "model ready": true, "nobody ready": false,
        "JSON to binary": affine(),
    });
    for form in ["JSON", "binary"] {
        for (call, value) in tensors() {
            told[format!("{form}: {call}")] = value;
        }
        told[format!("{form}: id")] = "kserve-1".into();
        told[format!("{form}: large")] = true.into();
        told[format!("{form}: unknown model")] = refused(404);
        told[format!("{form}: wrong shape")] = refused(400);
    }
    told
}

fn kserves_grpc() -> Value {
    let mut told = json!({
        "live": true, "ready": true, "model ready": true,
        "affine, contents": affine(),
        "no text": no_text(),
        "large": true,
        "unknown model": refused("NOT_FOUND"),
        "wrong shape": refused("INVALID_ARGUMENT"),
    });
    for (call, value) in tensors() {
        told[call] = value;
    }
    told
}

/// What came out of the codecs; and the answers are those of the server's own port, but that the filter says of bytes how they are
/// written.
fn codecs(told: &Told) -> Value {
    let words = json!(["h\u{e9}", "", "llo \u{1f600}"]);
    let mut expected = json!({
        "NumpyCodec": [[1, i64::MIN]],
        "NumpyCodec, FP32": affine(),
        "NumpyRequestCodec": [[i64::MIN, 0, i64::MAX]],
        "StringCodec": words,
        "StringRequestCodec": words,
        "Base64Codec": ["00fffe", "616263"],
        "DatetimeCodec": ["2026-11-29T20:30:15.250000+00:00", "1999-12-31T00:00:00"],
        "PandasCodec": { "ints": [1, -2, 9_007_199_254_740_993_i64], "floats": [0.1, -1e300, 2.5], "texts": words },
    });
    for (call, answer) in told.own.and_then(Value::as_object).into_iter().flatten() {
        if call.ends_with(": the answer") {
            expected[call] = answer.clone();
        }
    }
    if let (Some(_), Some(bytes)) = (told.column, expected.pointer_mut("/Base64Codec: the answer/outputs/s"))
    {
        bytes["parameters"] = json!({ "content_type": "base64" });
    }
    expected
}

fn openais() -> Value {
    let letters = |counts: &[(usize, f64)]| {
        let mut vector = [0.0; 26];
        for (letter, count) in counts {
            vector[*letter] = *count;
        }
        json!(vector.as_slice())
    };
    let abba = letters(&[(0, 2.0), (1, 2.0)]);
    json!({
        "models": ["letters", "writer"],
        "embeddings": [abba, letters(&[(0, 1.0), (1, 1.0), (2, 1.0)])],
        "embeddings as numbers": [abba],
        "completion": { "choices": [["ONE TWO", "length"]], "usage": [3, 2, 5] },
        "completions": { "choices": [["ONE TWO", "length"], ["FOUR", "stop"]], "usage": [4, 3, 7] },
        "unknown model": { "raised": "NotFoundError", "status": 404, "code": "model_not_found" },
    })
}

fn generate() -> Value {
    json!({
        "one answer": ["to"],
        "a stream": ["to", "be", "or"],
        "an error on the way": ["to", { "error": "the model lost its thread" }],
    })
}

fn openais_pieces() -> Value {
    json!({
        "to the end": [["ONE", null], [" TWO", null], [" THREE", "stop"]],
        "to the most tokens": [["ONE", null], [" TWO", "length"]],
    })
}

/// Of a stream that fails on the way MLServer tells it by the call's status, behind the answer's headers; Triton in a message.
fn events(told: &Told) -> Value {
    let failed = json!([["to"], { "error": "the model lost its thread" }]);
    let broken_off =
        told.kind == Kind::MlServer && matches!(told.column, Some(Column::Wasm | Column::WasmHold));
    json!({
        "a stream": [["to"], ["be"], ["or"]],
        "an error on the way": if broken_off { json!("broken off") } else { failed },
    })
}
