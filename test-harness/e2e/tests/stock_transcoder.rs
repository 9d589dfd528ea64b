//! Envoy's own `grpc_json_transcoder` and ours side by side, for a service of a user's: the same requests, the same server. Where
//! ours differs, the table says how, and the filter's README why.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use e2e::{Envoy, Installed, Listener, Options, Protocol, Request, Suite, gateway, send};
use odd_server::{OddServer, Recorded, Script, Step, wire};
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, File, FileResolver, GoogleFileResolver};
use serde_json::{Value, json};
use std::cell::Cell;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use testkit::Column;

const BOUND: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    Suite::new().each_envoy("ours_answers_as_stock_does_or_the_table_says_how_not", compare).run()
}

const SERVICE: &str = r#"
syntax = "proto3";
package user;
import "google/api/annotations.proto";
import "google/api/httpbody.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
enum Colour { RED = 0; BLUE = 1; }
message M {
  string name = 1;
  int32 number = 2;
  M inner = 3;
  repeated string list = 4;
  bytes data = 5;
  Colour main_colour = 6;
  map<string, int64> counts = 7;
  bool flag = 8;
  double ratio = 9;
  repeated M many = 10;
  uint64 big = 11;
  optional string note = 12;
  google.protobuf.Timestamp at = 13;
  google.protobuf.Duration takes = 14;
  google.protobuf.FieldMask mask = 15;
  google.protobuf.Int32Value maybe = 16;
  google.protobuf.Struct any_json = 17;
  float single = 18;
  oneof choice { string one = 19; int32 other = 20; }
}
message Upload { string name = 1; google.api.HttpBody file = 3; int32 number = 5; }
service S {
  rpc Raw(google.api.HttpBody) returns (M) { option (google.api.http) = { post: "/v1/raw" body: "*" }; }
  rpc Up(Upload) returns (M) { option (google.api.http) = { put: "/v1/up/{name}" body: "file" }; }
  rpc Down(M) returns (google.api.HttpBody) { option (google.api.http) = { get: "/v1/down/{name}" }; }
  rpc Part(M) returns (Upload) { option (google.api.http) = { get: "/v1/part/{name}" response_body: "file" }; }
  rpc Whole(M) returns (M) { option (google.api.http) = { post: "/v1/whole" body: "*" additional_bindings { put: "/v1/whole/{name}" body: "*" } additional_bindings { get: "/v1/also/{name}" } }; }
  rpc Inner(M) returns (M) { option (google.api.http) = { post: "/v1/inner/{name}" body: "inner" }; }
  rpc Query(M) returns (M) { option (google.api.http) = { get: "/v1/query" }; }
  rpc Deep(M) returns (M) { option (google.api.http) = { get: "/v1/{inner.name=shelves/*/books/*}" }; }
  rpc Rest(M) returns (M) { option (google.api.http) = { get: "/v1/files/{name=**}" }; }
  rpc Verb(M) returns (M) { option (google.api.http) = { post: "/v1/things/{name}:archive" body: "*" }; }
  rpc Full(M) returns (M) { option (google.api.http) = { get: "/v1/full" }; }
  rpc Many(M) returns (stream M) { option (google.api.http) = { get: "/v1/many" additional_bindings { post: "/v1/many" body: "*" } }; }
  rpc None(M) returns (stream M) { option (google.api.http) = { get: "/v1/none" }; }
  rpc Fails(M) returns (M) { option (google.api.http) = { get: "/v1/fails" }; }
  rpc Details(M) returns (M) { option (google.api.http) = { get: "/v1/details" }; }
  rpc Late(M) returns (M) { option (google.api.http) = { get: "/v1/late" }; }
  rpc Remove(M) returns (google.protobuf.Empty) { option (google.api.http) = { delete: "/v1/things/{name}" }; }
  rpc Change(M) returns (M) { option (google.api.http) = { patch: "/v1/things/{name}" body: "inner" }; }
  rpc Auto(M) returns (M);
  ERRORS
  rpc Odd(M) returns (M) { option (google.api.http) = { custom: { kind: "OPTIONS" path: "/v1/odd" } }; }
}
service Held {
  rpc Both(google.api.HttpBody) returns (google.api.HttpBody) { option (google.api.http) = { post: "/v1/both" body: "*" }; }
}
"#;

const HTTP_BODY: &str = r#"
syntax = "proto3";
package google.api;
import "google/protobuf/any.proto";
message HttpBody { string content_type = 1; bytes data = 2; repeated google.protobuf.Any extensions = 3; }
"#;

/// Bodies that are not JSON, their type first: method, path, type, body.
const RAW: &[(&str, &str, &str, &str)] = &[
    ("POST", "/v1/raw", "image/png", "\u{0}\u{1}{"),
    ("POST", "/v1/raw", "application/json", "{\"a\": 1}"),
    ("POST", "/v1/raw", "", "x"),
    ("POST", "/v1/raw", "text/plain", ""),
    ("PUT", "/v1/up/n?number=7", "text/plain; charset=utf-8", "hello"),
    ("PUT", "/v1/up/n", "", ""),
    ("GET", "/v1/down/n", "", ""),
    ("GET", "/v1/down/n?number=3", "", ""),
    ("GET", "/v1/part/n", "", ""),
    ("POST", "/v1/both", "a/b", "both"),
];

/// Paths with what may be a verb, for both with `match_unregistered_custom_verb`.
const VERBS: &[(&str, &str)] = &[
    ("GET", "/v1/also/b"),
    ("GET", "/v1/also/b:baz"),
    ("GET", "/v1/also/b:archive"),
    ("GET", "/v1/also/b%3Abaz"),
    ("GET", "/v1/files/a/b:c"),
    ("GET", "/v1/files/a:b/c"),
    ("POST", "/v1/things/t:archive"),
    ("POST", "/v1/things/t:other:archive"),
    ("POST", "/v1/things/t:unknown"),
];

/// A `google.rpc.Status` with a `user.M` in it.
const STATUS: &[u8] = b"\x08\x09\x12\x07not so!\x1a\x21\x0a\x1atype.googleapis.com/user.M\x12\x03\x0a\x01a";

/// How calls fail: `grpc-status`, `grpc-message`, `grpc-status-details-bin`, and where bodies differ that of ours and that of
/// stock.
type Failure = (&'static str, &'static str, String, Option<(&'static str, &'static str)>);

fn errors() -> Vec<Failure> {
    let any = |name: &str, content: &[u8]| {
        let url = format!("type.googleapis.com/{name}");
        [&[0x0a, url.len() as u8], url.as_bytes(), &[0x12, content.len() as u8], content].concat()
    };
    let text = any("google.protobuf.StringValue", b"\x0a\x01s");
    let takes = any("google.protobuf.Duration", b"\x08\x01\x10\x80\xca\xb5\xee\x01");
    vec![
        ("5", "no such%20thing \"\u{e9}\"", String::new(), None),
        ("5", "", String::new(), None),
        ("99", "odd", String::new(), None),
        ("9", "not so!", STANDARD_NO_PAD.encode(STATUS), None),
        ("9", "not so!", STANDARD.encode(STATUS), None),
        ("9", "another", of_status(&[any("user.M", FULL)]), None),
        ("9", "another", of_status(&[text.clone(), takes]), None),
        ("9", "another", of_status(&[]), None),
        ("9", "no base64", "CAU!".to_owned(), None),
        ("9", "no status", STANDARD.encode(b"\x12\x7fa"), None),
        ("9", "no text", STANDARD.encode(b"\x12\x01\xff"), None),
        ("9", "empty", STANDARD.encode(b"\x20\x01"), None),
        ("9", "unknown", of_status(&[any("other.M", b"")]), Some((NO, ""))),
        ("9", "unknown", of_status(&[any("other.M", b""), text]), Some((NO_TEXT, ""))),
        // A text that ends before its end: stock reads what there is of it.
        ("9", "cut", of_status(&[any("user.M", b"\x0a\x05a")]), Some((NO, NO_CUT))),
        ("9", "no text in a detail", of_status(&[any("user.M", b"\x0a\x01\xff")]), Some((NO, ""))),
        ("9", "no type", of_status(&[vec![]]), Some((NO, NO_TYPE))),
        (
            "9",
            "out of range",
            of_status(&[any("google.protobuf.Duration", b"\x10\x80\x94\xeb\xdc\x03")]),
            Some((NO, "")),
        ),
    ]
}

const NO: &str = r#"{"code":5,"message":"no"}"#;
const NO_CUT: &str =
    r#"{"code":5,"message":"no","details":[{"@type":"type.googleapis.com/user.M","name":"a"}]}"#;
const NO_TYPE: &str = r#"{"code":5,"message":"no","details":[{}]}"#;
const NO_TEXT: &str = r#"{"code":5,"message":"no","details":[{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"s"}]}"#;

/// A `google.rpc.Status` with these details, in base64.
fn of_status(details: &[Vec<u8>]) -> String {
    let length = |any: &Vec<u8>| {
        if any.len() < 0x80 {
            vec![any.len() as u8]
        } else {
            vec![any.len() as u8 | 0x80, (any.len() >> 7) as u8]
        }
    };
    let details = details.iter().flat_map(|any| [vec![0x1a], length(any), any.clone()].concat());
    STANDARD.encode([b"\x08\x05\x12\x02no".to_vec(), details.collect()].concat())
}

struct Source;

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "user.proto" => {
                let rpcs = (0..errors().len()).map(|index| {
                    let rpc = |name: &str, answers: &str| {
                        let path = format!("/v1/{name}{index}").to_lowercase();
                        format!("rpc {name}{index}(M) returns ({answers}) {{ option (google.api.http) = {{ get: '{path}' }}; }}")
                    };
                    [rpc("Error", "M"), rpc("Late", "M"), rpc("Stream", "stream M")].concat()
                });
                File::from_source(name, &SERVICE.replace("ERRORS", &rpcs.collect::<String>()))
            }
            "google/api/httpbody.proto" => File::from_source(name, HTTP_BODY),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn descriptor_set() -> Vec<u8> {
    let mut files = ChainFileResolver::new();
    files.add(Source);
    files.add(GoogleFileResolver::new());
    files.add(DescriptorSetFileResolver::decode(kserve_proto::DESCRIPTOR_SET).unwrap());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.include_imports(true).open_file("user.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

/// What ours does where stock does something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// The same: status, body as JSON, the call and its message.
    Same,
    /// It refuses what stock sends to the server.
    Refuses(u16),
    /// It sends another message.
    Sends,
    /// It takes what stock refuses.
    Takes,
    /// It passes on as it came what stock takes.
    Passes,
    /// It takes what stock passes on as it came.
    Serves,
}

const CASES: &[(&str, &str, &str, Ours)] = &[
    ("POST", "/v1/whole", r#"{"name":"a","number":3,"list":["x"],"mainColour":"BLUE"}"#, Ours::Same),
    ("POST", "/v1/whole", r#"{"main_colour":1,"big":"18446744073709551615","ratio":1e300}"#, Ours::Same),
    (
        "POST",
        "/v1/whole",
        r#"{"data":"_-8=","counts":{"a":"5","b":6},"at":"2026-01-02T03:04:05.5Z","takes":"1.5s"}"#,
        Ours::Same,
    ),
    ("POST", "/v1/whole", r#"{"mask":"a,bC","maybe":0,"anyJson":{"a":[1,null,"x"]},"note":""}"#, Ours::Same),
    ("POST", "/v1/whole", "", Ours::Same),
    ("POST", "/v1/whole", "{}", Ours::Same),
    ("POST", "/v1/whole", "{", Ours::Same),
    ("POST", "/v1/whole", "[]", Ours::Same),
    ("POST", "/v1/whole", r#"{"nmae":1}"#, Ours::Same),
    ("POST", "/v1/whole", r#"{"number":"x"}"#, Ours::Same),
    ("POST", "/v1/whole", r#"{"number":3000000000}"#, Ours::Same),
    ("POST", "/v1/whole", r#"{"number":1.5}"#, Ours::Same),
    ("POST", "/v1/whole", r#"{"mainColour":"GREEN"}"#, Ours::Takes),
    ("POST", "/v1/whole", r#"{"mainColour":"blue"}"#, Ours::Same),
    ("POST", "/v1/whole", r#"{"number":"1e2","many":[{"number":"2.0"}]}"#, Ours::Takes),
    ("GET", "/v1/query?mainColour=blue", "", Ours::Same),
    ("POST", "/v1/whole", r#"{"name":"a","name":"b"}"#, Ours::Refuses(400)),
    ("POST", "/v1/whole", r#"{"name":null}"#, Ours::Same),
    ("POST", "/v1/whole", r#"{"one":"a","other":1}"#, Ours::Same),
    ("POST", "/v1/whole", r#"{"name":"a"} x"#, Ours::Same),
    ("PUT", "/v1/whole/b", r#"{"number":3}"#, Ours::Same),
    ("PUT", "/v1/whole/b", r#"{"name":"c"}"#, Ours::Refuses(400)),
    ("GET", "/v1/also/b%20c", "", Ours::Same),
    ("GET", "/v1/also/b%2Fc", "", Ours::Same),
    ("GET", "/v1/also/b?number=3", "", Ours::Same),
    ("POST", "/v1/inner/b", r#"{"name":"i"}"#, Ours::Same),
    ("POST", "/v1/inner/b?number=4", r#"{"name":"i"}"#, Ours::Same),
    ("POST", "/v1/inner/b?inner.number=4", r#"{"name":"i"}"#, Ours::Refuses(400)),
    ("GET", "/v1/query?number=4&list=a&list=b&inner.inner.name=c", "", Ours::Same),
    ("GET", "/v1/query?mainColour=BLUE&main_colour=BLUE", "", Ours::Refuses(400)),
    ("GET", "/v1/query?main_colour=1&flag=true&ratio=-1.5&data=AP8%3D", "", Ours::Same),
    ("GET", "/v1/query?flag=1", "", Ours::Same),
    ("GET", "/v1/query?number=x", "", Ours::Same),
    ("GET", "/v1/query?unknown=1", "", Ours::Refuses(400)),
    ("GET", "/v1/query?inner=1", "", Ours::Same),
    ("GET", "/v1/query?number=1&number=2", "", Ours::Refuses(400)),
    ("GET", "/v1/query?at=2026-01-02T03:04:05Z&takes=3s&mask=a.b,c&maybe=7", "", Ours::Same),
    ("GET", "/v1/query?counts=1", "", Ours::Same),
    ("GET", "/v1/query?name=a+b%2B", "", Ours::Sends),
    ("GET", "/v1/query?name", "", Ours::Same),
    ("GET", "/v1/query?name=", "", Ours::Same),
    ("GET", "/v1/query?", "", Ours::Same),
    ("GET", "/v1/query?&number=1&&", "", Ours::Same),
    ("GET", "/v1/query", "{}", Ours::Refuses(400)),
    ("GET", "/v1/shelves/1/books/2", "", Ours::Same),
    ("GET", "/v1/shelves/1/books", "", Ours::Same),
    ("GET", "/v1/files/a/b/c", "", Ours::Same),
    ("GET", "/v1/files/", "", Ours::Passes),
    ("GET", "/v1/files", "", Ours::Same),
    ("GET", "/v1/files/a%2Fb", "", Ours::Same),
    ("POST", "/v1/things/t:archive", "{}", Ours::Same),
    ("POST", "/v1/things/t:unknown", "{}", Ours::Refuses(405)),
    ("GET", "/v1/full", "", Ours::Same),
    ("GET", "/v1/fails", "", Ours::Same),
    ("DELETE", "/v1/things/t", "", Ours::Same),
    ("PATCH", "/v1/things/t", r#"{"number":1}"#, Ours::Same),
    ("OPTIONS", "/v1/odd", "", Ours::Same),
    ("POST", "/user.S/Auto", r#"{"name":"a"}"#, Ours::Same),
    ("POST", "/user.S/Auto", "{", Ours::Same),
    ("POST", "/user.S/Auto", "", Ours::Same),
    ("GET", "/v1/also/b:baz", "", Ours::Same),
    ("GET", "/v1/also/b:archive", "", Ours::Serves),
    ("GET", "/v1/also/b:", "", Ours::Same),
    ("GET", "/v1/whole", "", Ours::Refuses(405)),
    ("GET", "/v1/nothing", "", Ours::Same),
];

/// What a request led to.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    body: Value,
    /// The call, and its message if it has one.
    call: Option<(String, Option<DynamicMessage>)>,
}

fn compare(installed: &Installed) {
    let set = descriptor_set();
    let pool = DescriptorPool::decode(&*set).unwrap();
    let kind = |path: &str| {
        let mut methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let method = methods.find(|method| path.rsplit('/').next() == Some(method.name()));
        method.map_or_else(|| pool.get_message_by_name("user.M").unwrap(), |method| method.input())
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("user.binpb");
    std::fs::write(&file, &set).unwrap();
    let server = OddServer::start().unwrap();
    server.default_script(Script::message(FULL));
    server.script_for_path("/user.S/Fails", Script::trailers_only(5, "no such thing"));
    let details = [
        ("content-type", b"application/grpc".to_vec()),
        ("grpc-status", b"9".to_vec()),
        ("grpc-message", b"not so%21".to_vec()),
        ("grpc-status-details-bin", STANDARD_NO_PAD.encode(STATUS).into_bytes()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let [content_type, ends @ ..] = details.clone();
    let all = Step::Headers { status: 200, headers: details.to_vec(), end: true };
    server.script_for_path("/user.S/Details", Script::after_request().then(all));
    let head = Step::Headers { status: 200, headers: vec![content_type], end: false };
    let late = Script::after_request().then(head).then(Step::Trailers(ends.to_vec()));
    server.script_for_path("/user.S/Late", late);
    for (index, (code, message, details, _)) in errors().into_iter().enumerate() {
        let mut ends = vec![("grpc-status".to_owned(), code.as_bytes().to_vec())];
        for (name, value) in [("grpc-message", message), ("grpc-status-details-bin", &details)] {
            ends.extend((!value.is_empty()).then(|| (name.to_owned(), value.as_bytes().to_vec())));
        }
        let head = vec![("content-type".to_owned(), b"application/grpc".to_vec())];
        let headers = [head.clone(), ends.clone()].concat();
        let all = || {
            Script::after_request().then(Step::Headers { status: 200, headers: headers.clone(), end: true })
        };
        server.script_for_path(&format!("/user.S/Error{index}"), all());
        server.script_for_path(&format!("/user.S/Stream{index}"), all());
        let head = Step::Headers { status: 200, headers: head, end: false };
        let late = Script::after_request().then(head).then(Step::Trailers(ends));
        server.script_for_path(&format!("/user.S/Late{index}"), late);
    }
    server.script_for_path("/user.S/Remove", Script::message(b""));
    server.script_for_path("/user.S/Down", Script::message(b"\x0a\x03a/b\x12\x03\x00{x"));
    server.script_for_path("/user.S/Part", Script::message(b"\x0a\x01n\x1a\x0a\x0a\x03c/d\x12\x03\x00{x"));
    server.script_for_path("/user.Held/Both", Script::message(b"\x0a\x03e/f\x12\x03{}}"));
    server.script_for_path("/user.S/Many", Script::pieces([wire::frame(FULL), wire::frame(b"\x0a\x01a")]));
    server.script_for_path("/user.S/None", Script::pieces::<Vec<u8>>([]));

    let prints = [
        json!({}),
        json!({"add_whitespace": true, "preserve_proto_field_names": true}),
        json!({"always_print_primitive_fields": true, "always_print_enums_as_ints": true}),
        json!({"stream_newline_delimited": true}),
        json!({"stream_newline_delimited": true, "stream_sse_style_delimited": true}),
    ];
    let mut listeners = Vec::new();
    for (index, print) in prints.iter().enumerate() {
        let ours = json!({"descriptor_sets": [STANDARD.encode(&set)], "services": ["user.S", "user.Held"], "answer_form": "proto", "print_options": print, "ignore_unknown_fields": true, "auto_mapping": true, "case_insensitive_enum_parsing": true});
        let [stock, native] = ["stock", "native"].map(|name| Listener::new(&format!("{name}{index}")));
        listeners.push(stock.filter(&stock_filter(&file, print, false)));
        listeners.push(native.transcoder(Column::Native, &ours.to_string()));
        let mut statuses = ours.clone();
        statuses["convert_grpc_status"] = json!(true);
        let converts = Listener::new(&format!("native-status{index}"));
        listeners.push(converts.transcoder(Column::Native, &statuses.to_string()));
        if index == 0 {
            let (mut held, mut wasm) = (ours.clone(), ours.clone());
            held["hold_response_headers"] = json!(true);
            listeners.push(Listener::new("hold0").transcoder(Column::WasmHold, &held.to_string()));
            let mut verbs = ours.clone();
            verbs["match_unregistered_custom_verb"] = json!(true);
            listeners.push(Listener::new("native-verb").transcoder(Column::Native, &verbs.to_string()));
            listeners.push(Listener::new("stock-verb").filter(&stock_filter(&file, print, true)));
            // An answer of its own type to a POST needs held headers.
            wasm["services"] = json!(["user.S"]);
            listeners.push(Listener::new("wasm0").transcoder(Column::Wasm, &wasm.to_string()));
            wasm["convert_grpc_status"] = json!(true);
            listeners.push(Listener::new("wasm-status0").transcoder(Column::Wasm, &wasm.to_string()));
            held["convert_grpc_status"] = json!(true);
            listeners.push(Listener::new("hold-status0").transcoder(Column::WasmHold, &held.to_string()));
        }
    }
    let envoy =
        Envoy::start(&installed.path, &gateway(&listeners, server.address()), &Options::default()).unwrap();
    let asked = Cell::new(0);
    let ask_as = |listener: &str, method: &str, path: &str, content_type: &str, body: &str| {
        let number = asked.get().to_string();
        asked.set(asked.get() + 1);
        let mut request = Request::new(method, path);
        if !body.is_empty() {
            request = Request { method: method.to_owned(), ..Request::post(path, body) };
        }
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let request = request.header("x-number", &number);
        let answer =
            send(Protocol::Http1, envoy.address(listener).unwrap(), &request).unwrap().complete().unwrap();
        // What an error's call came to depends on how far it had got.
        let call = (answer.status() == 200).then(|| {
            let is_it = |seen: &Recorded| {
                seen.header("x-number") == Some(number.as_bytes()) && (seen.ended || seen.reset.is_some())
            };
            let all = server.wait_until(BOUND, |all| all.iter().any(is_it));
            let all = all
                .unwrap_or_else(|_| panic!("the server has not seen {method} {path} {body} on {listener}"));
            let seen = all.into_iter().find(is_it).unwrap();
            let message = seen.messages().ok().and_then(|all| all.into_iter().next());
            let message = message.map(|message| canonical(&kind(&seen.path), &message.bytes));
            (seen.path, message)
        });
        let body = match answer.status() {
            200 => numbers(serde_json::from_slice(&answer.body).unwrap_or_default()),
            _ => Value::Null,
        };
        (Seen { status: answer.status(), body, call }, answer)
    };
    let ask = |listener: &str, method: &str, path: &str, body: &str| {
        let content_type = if body.is_empty() { "" } else { "application/json" };
        ask_as(listener, method, path, content_type, body)
    };
    let mut wrong = String::new();
    for (method, path, content_type, body) in RAW {
        let told = |host: &str| {
            let (seen, answer) = ask_as(host, method, path, content_type, body);
            let told = answer.header("content-type").map(|value| value.escape_ascii().to_string());
            let text = match &seen.body {
                Value::Null => answer.body.escape_ascii().to_string(),
                json => json.to_string(),
            };
            format!("{} {told:?} {text}", shown(&seen))
        };
        let stock = told("stock0");
        for host in ["native0", "hold0", "wasm0"] {
            if host == "wasm0" && *path == "/v1/both" {
                continue;
            }
            let got = told(host);
            if got != stock {
                wrong += &format!("{method} {path} {content_type} {body}\n  stock {stock}\n  {host} {got}\n");
            }
        }
    }
    for (method, path, body, ours) in CASES {
        let (stock, _) = ask("stock0", method, path, body);
        for host in ["native0", "wasm0"] {
            let (got, _) = ask(host, method, path, body);
            let right = match ours {
                Ours::Same => got == stock,
                Ours::Refuses(status) => got.status == *status && stock.status == 200,
                Ours::Sends => got.status == 200 && stock.status == 200 && got.call != stock.call,
                Ours::Takes => got.status == 200 && stock.status == 400,
                Ours::Serves => {
                    got.status == 200
                        && matches!(&stock.call, Some((passed, None)) if passed == path)
                        && got != stock
                }
                Ours::Passes => matches!(&got.call, Some((passed, None)) if passed == path) && got != stock,
            };
            if !right {
                let (stock, got) = (shown(&stock), shown(&got));
                wrong += &format!("{method} {path} {body}\n  stock {stock}\n  {host} {got}\n");
            }
        }
    }
    for (method, path) in VERBS {
        let (stock, ours) = (ask("stock-verb", method, path, "").0, ask("native-verb", method, path, "").0);
        if ours != stock {
            wrong +=
                &format!("{method} {path}, any verb\n  stock {}\n  native {}\n", shown(&stock), shown(&ours));
        }
    }
    for path in ["/v1/fails", "/v1/details", "/v1/late"] {
        let stock = ask("stock0", "GET", path, "").1;
        let status: Value = serde_json::from_slice(&stock.body).unwrap_or_default();
        for host in ["native0", "hold0", "wasm0"] {
            if host == "wasm0" && path == "/v1/late" {
                continue;
            }
            let ours = ask(host, "GET", path, "").1;
            // Ours has the message alone.
            let same = ours.status() == stock.status()
                && status["message"].is_string()
                && ours.json().unwrap() == json!({ "error": status["message"] });
            if !same {
                wrong += &format!(
                    "{path}\n  stock {} {}\n  {host} {} {}\n",
                    stock.status(),
                    stock.text(),
                    ours.status(),
                    ours.text()
                );
            }
        }
    }
    for (index, (code, message, details, ours)) in errors().into_iter().enumerate() {
        let told = |listener: &str, path: &str| {
            let answer = ask(listener, "GET", path, "").1;
            let content_type = answer.head.as_ref().and_then(|head| head.header("content-type"));
            // Whole floating-point numbers have `.0` in ours.
            let text = answer.text().replace(".0,", ",").replace(".0}", "}");
            (answer.status(), content_type.map(|value| value.escape_ascii().to_string()), text)
        };
        for (kind, host) in [
            ("error", "native-status0"),
            ("error", "native-status1"),
            ("error", "native-status2"),
            ("error", "hold-status0"),
            ("error", "wasm-status0"),
            ("late", "native-status0"),
            ("late", "hold-status0"),
            ("stream", "native-status0"),
            ("stream", "native-status4"),
        ] {
            let path = format!("/v1/{kind}{index}");
            let stock = told(&format!("stock{}", &host[host.len() - 1..]), &path);
            let got = told(host, &path);
            let right = match ours {
                None => got == stock && !got.2.is_empty(),
                Some((body, theirs)) if host.ends_with('0') => {
                    // A stream of stock's without messages is a list of none.
                    let is_theirs =
                        stock.2 == theirs || theirs.is_empty() && kind == "stream" && stock.2 == "[]";
                    got.0 == stock.0 && got.2 == body && is_theirs
                }
                Some(_) => got.0 == stock.0 && got.2 != stock.2,
            };
            if !right {
                wrong +=
                    &format!("{path} ({code} {message} {details})\n  stock {stock:?}\n  {host} {got:?}\n");
            }
        }
    }
    for (index, print) in prints.iter().enumerate() {
        for path in ["/v1/full", "/v1/many", "/v1/none"] {
            let told = |name: &str| {
                let answer = ask(&format!("{name}{index}"), "GET", path, "").1;
                let content_type = answer.head.as_ref().and_then(|head| head.header("content-type"));
                // Whole floating-point numbers have `.0` in ours.
                let text = answer.text().replace(".0,", ",").replace(".0}", "}");
                format!("{} {text}", String::from_utf8_lossy(content_type.unwrap_or_default()))
            };
            let (stock, ours) = (told("stock"), told("native"));
            if ours != stock {
                wrong += &format!("{path} {print}\n  stock {stock}\n  native {ours}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Whatever the order of its fields, and whether those that have their default are there.
fn canonical(kind: &MessageDescriptor, bytes: &[u8]) -> DynamicMessage {
    let decode = |bytes: &[u8]| DynamicMessage::decode(kind.clone(), bytes).unwrap();
    decode(&decode(bytes).encode_to_vec())
}

fn shown(seen: &Seen) -> String {
    let Some((path, message)) = &seen.call else { return seen.status.to_string() };
    let message = message.as_ref().map(|message| message.encode_to_vec().escape_ascii().to_string());
    format!("{} {path} {}", seen.status, message.unwrap_or_else(|| "as it came".to_owned()))
}

/// JSON whose numbers are compared as numbers: `0` is `0.0`.
fn numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.into_iter().map(numbers).collect(),
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, numbers(value))).collect(),
        other => other,
    }
}

/// A message with a value in most fields: what the server answers.
const FULL: &[u8] = b"\x0a\x01n\x10\x03\x1a\x05\x0a\x01i\x10\x04\x22\x01a\x22\x01b\x2a\x02\x00\xff\x30\x01\x3a\x05\x0a\x01k\x10\x07\x40\x01\x49\x00\x00\x00\x00\x00\x00\xf8\x3f\x52\x02\x10\x05\x52\x00\x58\x07\x62\x00\x6a\x04\x08\x80\x94\x23\x72\x05\x08\x01\x10\x80\x65\x7a\x03\x0a\x01a\x82\x01\x00\x95\x01\xcd\xcc\xcc\x3d\xa0\x01\x09";

fn stock_filter(file: &Path, print: &Value, any_verb: bool) -> String {
    json!({
        "name": "stock",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            "proto_descriptor": file,
            "services": ["user.S", "user.Held"],
            "convert_grpc_status": true,
            "auto_mapping": true,
            "match_unregistered_custom_verb": any_verb,
            "case_insensitive_enum_parsing": true,
            "print_options": print,
        },
    })
    .to_string()
}
