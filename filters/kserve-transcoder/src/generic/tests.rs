//! Calls as a REST client and a gRPC server see them.

mod forms;
mod http_body;
mod lenient;
mod printing;
mod queries;
mod statuses;

use super::*;
use crate::rows::tests::{compiled, descriptor_set, load, method, method_of};
use crate::rows::{Found, Options, Rows};
use filter_api::Memory;
use proptest::prelude::*;
use prost_reflect::ReflectMessage;
use std::sync::LazyLock;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

static OURS: LazyLock<Rows> = LazyLock::new(|| Rows::load(Options::default()).unwrap());

fn open_in(form: AnswerForm, memory: &Arc<Memory>, rows: &Rows, method: &str, path: &str) -> Box<Request> {
    let Ok(Found::Row { row, variables }) = rows.find(method.as_bytes(), path.as_bytes()) else {
        panic!("no row for {method} {path}");
    };
    let print = Print::new(form, None);
    let options = options_of(print);
    Request::new(row, variables, options, memory.account(usize::MAX).charge())
}

fn options_of(print: Print) -> super::Options {
    super::Options {
        print,
        ignore_unknown_fields: false,
        case_insensitive_enums: false,
        max_request_bytes: 10_000,
    }
}

fn plain() -> super::Options {
    options_of(Print::new(AnswerForm::Kserve, None))
}

fn open_on(memory: &Arc<Memory>, rows: &Rows, method: &str, path: &str) -> Box<Request> {
    open_in(AnswerForm::Kserve, memory, rows, method, path)
}

fn open(rows: &Rows, method: &str, path: &str) -> Box<Request> {
    open_on(&Memory::new(1 << 24), rows, method, path)
}

fn bytes(mut rope: Rope) -> Vec<u8> {
    let mut out = Vec::new();
    rope.drain_to(&mut out);
    out
}

/// The message that the server gets.
fn sent(rows: &Rows, method: &str, path: &str, body: &str) -> Result<DynamicMessage, Problem> {
    let mut request = open(rows, method, path);
    let input = request.row.input.clone();
    request.write(body.as_bytes())?;
    let (message, _) = request.finish()?;
    Ok(DynamicMessage::decode(input, &bytes(message)[..]).unwrap())
}

fn refused(rows: &Rows, path: &str, body: &str) -> String {
    let problem = sent(rows, "POST", path, body).unwrap_err();
    assert_eq!(problem.status, 400);
    problem.message.into_owned()
}

/// Status and body that the client gets.
fn answered(rows: &Rows, path: &str, message: &[u8]) -> Result<(u16, String), Problem> {
    answered_in(AnswerForm::Kserve, rows, path, message)
}

fn answered_in(form: AnswerForm, rows: &Rows, path: &str, message: &[u8]) -> Result<(u16, String), Problem> {
    let (_, mut response) = open_in(form, &Memory::new(1 << 24), rows, "GET", path).finish()?;
    // As it comes from a network.
    for piece in message.chunks(3) {
        response.write(piece)?;
    }
    let answer = response.finish()?;
    let mut body = Vec::new();
    let status = answer.status();
    answer.render(&mut body);
    Ok((status, String::from_utf8(body).unwrap()))
}

/// A message of one of our types, from its JSON form.
fn message(name: &str, json: &str) -> Vec<u8> {
    let pool = prost_reflect::DescriptorPool::decode(kserve_proto::DESCRIPTOR_SET).unwrap();
    let message = pool.get_message_by_name(&format!("inference.{name}")).unwrap();
    parse(&message, &[], plain(), json.as_bytes()).unwrap().encode_to_vec()
}

fn user_rows(rule: &str) -> Rows {
    load(&[method(rule)]).unwrap()
}

#[test]
fn a_get_is_complete_without_a_body_and_carries_what_its_path_says() {
    for (path, expected) in [
        ("/v2", &b""[..]),
        ("/v2/health/live", b""),
        ("/v2/health/ready", b""),
        ("/v2/models/ident", b"\x0a\x05ident"),
        ("/v2/models/ident/ready", b"\x0a\x05ident"),
        ("/v2/models/ident/versions/1", b"\x0a\x05ident\x12\x011"),
        ("/v2/models/a%2Fb/versions/1/ready", b"\x0a\x03a/b\x12\x011"),
    ] {
        let mut request = open(&OURS, "GET", path);
        assert_eq!(request.write(b""), Ok(Progress::Complete), "{path}");
        assert_eq!(bytes(request.finish().unwrap().0), expected, "{path}");
    }
    let mut request = open(&OURS, "GET", "/v2");
    request.write(b" \r\n").unwrap();
    assert_eq!(request.write(b"{}").unwrap_err(), Problem::bad_request("this path takes no body"));
}

#[test]
fn readiness_is_in_the_body_and_in_the_status() {
    for (path, yes, no) in [
        ("/v2/health/live", r#"{"live":true}"#, r#"{"live":false}"#),
        ("/v2/health/ready", r#"{"ready":true}"#, r#"{"ready":false}"#),
        ("/v2/models/m/ready", r#"{"name":"m","ready":true}"#, r#"{"name":"m","ready":false}"#),
        (
            "/v2/models/m/versions/2/ready",
            r#"{"name":"m","version":"2","ready":true}"#,
            r#"{"name":"m","version":"2","ready":false}"#,
        ),
    ] {
        assert_eq!(answered(&OURS, path, b"\x08\x01").unwrap(), (200, yes.into()));
        // No is the default, which servers leave out.
        assert_eq!(answered(&OURS, path, b"").unwrap(), (503, no.into()));
        assert_eq!(answered(&OURS, path, b"\x08\x00").unwrap(), (503, no.into()));
    }
}

#[test]
fn metadata_comes_out_as_a_server_with_rest_of_its_own_prints_it() {
    let server =
        r#"{"name":"triton","version":"2.51.0","extensions":["classification","binary_tensor_data"]}"#;
    assert_eq!(
        answered(&OURS, "/v2", &message("ServerMetadataResponse", server)).unwrap(),
        (200, server.into())
    );
    let model = r#"{"name":"ident","versions":["1"],"platform":"python","inputs":[{"name":"INPUT0","datatype":"FP32","shape":[-1,4]}],"outputs":[{"name":"OUT_INPUT0","datatype":"FP32","shape":[-1,4]}]}"#;
    assert_eq!(
        answered(&OURS, "/v2/models/ident", &message("ModelMetadataResponse", model)).unwrap(),
        (200, model.into())
    );
}

#[test]
fn an_empty_answer_still_has_every_field() {
    assert_eq!(answered(&OURS, "/v2", b"").unwrap().1, r#"{"name":"","version":"","extensions":[]}"#);
    let model = r#"{"name":"","versions":[],"platform":"","inputs":[],"outputs":[]}"#;
    assert_eq!(answered(&OURS, "/v2/models/m", b"").unwrap().1, model);
    let tensor = r#"{"name":"","versions":[],"platform":"","inputs":[{"name":"","datatype":"","shape":[]}],"outputs":[]}"#;
    assert_eq!(answered(&OURS, "/v2/models/m", b"\x22\x00").unwrap().1, tensor);
}

#[test]
fn fields_that_servers_disagree_on_do_not_spoil_metadata() {
    let plain = answered(&OURS, "/v2/models/m", b"\x0a\x01m").unwrap();
    // Field 6: a map of strings in the protocol; a map of parameters in MLServer, whose tensors have a field 4.
    for odd in [
        &b"\x0a\x01m\x32\x06\x0a\x01k\x12\x01v"[..],
        b"\x0a\x01m\x32\x09\x0a\x01k\x12\x04\x1a\x02ct",
        b"\x0a\x01m\x32\x07\x0a\x01k\x12\x02\x10\x05",
    ] {
        assert_eq!(answered(&OURS, "/v2/models/m", odd).unwrap(), plain);
    }
    let tensor = b"\x22\x0e\x0a\x01x\x22\x09\x0a\x01k\x12\x04\x1a\x02ct";
    assert!(answered(&OURS, "/v2/models/m", tensor).unwrap().1.contains(r#""inputs":[{"name":"x","#));
}

#[test]
fn an_answer_that_is_no_message_is_the_servers_fault() {
    for odd in [&b"\x0a\x05ab"[..], b"\xff", b"\x0a\x01\xff", b"\x22\x01\x0a"] {
        let problem = answered(&OURS, "/v2/models/m", odd).unwrap_err();
        assert_eq!(problem.status, 502);
        let expected = "the model server's answer is not a valid inference.ModelMetadataResponse: ";
        assert!(problem.message.starts_with(expected), "{problem}");
    }
}

#[test]
fn a_body_cut_anywhere_makes_the_same_message_and_is_complete_when_it_closes() {
    let rows = user_rows("post: '/v1/{name}' body: '*'");
    let body = br#" {"number": -7, "inner": {"list": ["}", "\"]"]}, "counts": {"a": 9007199254740993}}"#;
    let whole = sent(&rows, "POST", "/v1/n", std::str::from_utf8(body).unwrap()).unwrap();
    for cut in 0..=body.len() {
        let mut request = open(&rows, "POST", "/v1/n");
        let progress = request.write(&body[..cut]);
        assert_eq!(progress == Ok(Progress::Complete), cut == body.len(), "{cut}");
        assert_eq!(request.write(&body[cut..]), Ok(Progress::Complete));
        let (message, _) = request.finish().unwrap();
        assert_eq!(DynamicMessage::decode(whole.descriptor(), &bytes(message)[..]).unwrap(), whole, "{cut}");
    }
}

#[test]
fn every_kind_of_field_survives_both_ways() {
    let rows = load(&[descriptor_set(
        r#"rpc In(M) returns (M) { option (google.api.http) = { post: "/v1/in" body: "*" }; }
           rpc Out(M) returns (M) { option (google.api.http) = { get: "/v1/out" }; }"#,
    )])
    .unwrap();
    let body = r#"{"name":"né","number":-3,"inner":{"name":"","number":0,"list":[],"data":"","colour":"RED","counts":{},"flag":false,"ratio":0.5,"many":[],"big":0},"list":["a",""],"data":"AP8=","colour":"BLUE","counts":{"k":-9223372036854775808},"flag":true,"ratio":"NaN","many":[],"big":18446744073709551615,"note":""}"#;
    let message = sent(&rows, "POST", "/v1/in", body).unwrap().encode_to_vec();
    assert_eq!(answered(&rows, "/v1/out", &message).unwrap(), (200, body.into()));
}

#[test]
fn a_post_without_a_body_is_an_empty_message() {
    let rows = user_rows("post: '/v1/{name}' body: '*'");
    for body in ["", " \n"] {
        let message = sent(&rows, "POST", "/v1/n", body).unwrap();
        assert_eq!(message.encode_to_vec(), b"\x0a\x01n");
    }
}

#[test]
fn a_body_that_disagrees_with_the_url_is_refused_and_one_that_agrees_is_not() {
    let rows = user_rows("post: '/v1/{name}/{inner.number}/{note}' body: '*'");
    let path = "/v1/public/7/n";
    let url_only = sent(&rows, "POST", path, "{}").unwrap();
    for same in [r#"{"name":"public"}"#, r#"{"name":""}"#, r#"{"name":null}"#, r#"{"inner":{"number":"7"}}"#]
    {
        assert_eq!(sent(&rows, "POST", path, same).unwrap(), url_only, "{same}");
    }
    assert_eq!(
        refused(&rows, path, r#"{"name":"secret"}"#),
        "name is 'public' in the URL but 'secret' in the body"
    );
    assert_eq!(
        refused(&rows, path, r#"{"inner":{"number":8}}"#),
        "inner.number is '7' in the URL but '8' in the body"
    );
    // Which one of two would count is not left to the reader.
    assert_eq!(refused(&rows, path, r#"{"name":"public","name":"secret"}"#), "body: name is given twice");
    // This field knows the difference between empty and absent.
    assert_eq!(refused(&rows, path, r#"{"note":""}"#), "note is 'n' in the URL but '' in the body");
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(5000));
    assert!(refused(&rows, path, &long).len() < 500);
}

#[test]
fn a_path_sets_numbers_flags_and_enums_and_says_when_it_cannot() {
    let rows = user_rows("post: '/v1/{number}/{flag}/{colour}/{ratio}/{big}'");
    let found = sent(&rows, "POST", "/v1/-5/true/BLUE/1e3/18446744073709551615", "").unwrap();
    let expected = sent(
        &user_rows("post: '/v1' body: '*'"),
        "POST",
        "/v1",
        r#"{"number":-5,"flag":true,"colour":1,"ratio":1000,"big":"18446744073709551615"}"#,
    );
    assert_eq!(found.encode_to_vec(), expected.unwrap().encode_to_vec());
    assert_eq!(refused(&rows, "/v1/x/true/RED/1/1", ""), "path: number 'x' is not a valid int32");
    assert_eq!(refused(&rows, "/v1/1/maybe/RED/1/1", ""), "path: flag 'maybe' is not a valid bool");
    assert_eq!(refused(&rows, "/v1/1/true/GREEN/1/1", ""), "path: colour 'GREEN' is not a valid user.Colour");
    assert_eq!(refused(&rows, "/v1/1/true/RED/1/-1", ""), "path: big '-1' is not a valid uint64");
}

/// The row `GET /v1`, or `POST /v1` with a body, of a message of other types than `M` has.
fn rows_of_other_types() -> Rows {
    let methods = r#"rpc Get(W) returns (W) { option (google.api.http) = {
            get: "/v1" additional_bindings { post: "/v1" body: "*" } additional_bindings { get: "/v1/{whole}/{single}" }
        }; }
    }
    message W {
        float single = 1; double ratio = 2; int32 whole = 3; uint64 big = 4; Colour colour = 5;
        google.protobuf.Int32Value wrapped = 6; google.protobuf.Timestamp time = 7;
        map<int32, string> by_number = 8; map<string, string> by_text = 9; google.protobuf.Value value = 10;
    }
    service Nothing {"#;
    crate::rows::tests::load(&[crate::rows::tests::descriptor_set(methods)]).unwrap()
}

#[test]
fn a_number_in_a_url_is_one_in_protobufs_json() {
    let rows = rows_of_other_types();
    let body = |json: &str| sent(&rows, "POST", "/v1", json).unwrap();
    for (query, json) in [
        (
            "single=-1.5&ratio=1e308&whole=-7&big=18446744073709551615",
            r#"{"single":-1.5,"ratio":1e308,"whole":-7,"big":"18446744073709551615"}"#,
        ),
        ("single=Infinity&ratio=-Infinity", r#"{"single":"Infinity","ratio":"-Infinity"}"#),
        ("colour=1&wrapped=0", r#"{"colour":"BLUE","wrapped":0}"#),
    ] {
        let message = sent(&rows, "GET", &format!("/v1?{query}"), "").unwrap();
        assert_eq!(message.encode_to_vec(), body(json).encode_to_vec(), "{query}");
    }
    assert!(sent(&rows, "GET", "/v1?single=NaN", "").is_ok());
    for query in [
        "single=inf",
        "single=nan",
        "single=infinity",
        "single=%2BInfinity",
        "single=%2B1.5",
        "single=1e39",
        "single=-1e39",
        "ratio=inf",
        "ratio=1e309",
        "ratio=%2B1",
        "whole=%2B7",
        "whole=1e2",
        "whole=2147483648",
        "big=%2B1",
        "big=-1",
        "colour=%2B1",
        "wrapped=%2B1",
    ] {
        let problem = sent(&rows, "GET", &format!("/v1?{query}"), "").unwrap_err();
        assert!(problem.message.contains("is not a valid"), "{query}: {problem}");
    }
    // In a body they may be in quotes.
    for body in [
        r#"{"single":"inf"}"#,
        r#"{"single":"1e39"}"#,
        r#"{"ratio":"nan"}"#,
        r#"{"ratio":"+1"}"#,
        r#"{"whole":"+7"}"#,
        r#"{"big":"+1"}"#,
        r#"{"wrapped":"+1"}"#,
    ] {
        assert!(refused(&rows, "/v1", body).contains("is not a number, or is out of range"), "{body}");
    }
    assert!(
        sent(&rows, "POST", "/v1", r#"{"by_text":{"a":"+1"},"single":"-Infinity","ratio":"NaN"}"#).is_ok()
    );
    assert!(sent(&rows, "GET", "/v1/7/1.5", "").is_ok());
    for path in ["/v1/+7/1", "/v1/7/+1", "/v1/7/inf", "/v1/7/1e39"] {
        assert_eq!(sent(&rows, "GET", path, "").unwrap_err().status, 400, "{path}");
    }
}

#[test]
fn a_parameter_and_a_part_of_it_are_one_that_is_there_twice() {
    let rows = rows_of_other_types();
    for query in
        ["wrapped=1&wrapped.value=2", "wrapped.value=2&wrapped=1", "time.seconds=5&time=2020-01-01T00:00:00Z"]
    {
        let problem = sent(&rows, "GET", &format!("/v1?{query}"), "").unwrap_err();
        assert!(problem.message.ends_with("it is there twice"), "{query}: {problem}");
    }
    assert!(sent(&rows, "GET", "/v1?time.seconds=5&time.nanos=6", "").is_ok());
}

#[test]
fn a_key_of_a_map_is_known_by_its_value_and_any_json_has_keys_of_its_own() {
    let rows = rows_of_other_types();
    assert_eq!(refused(&rows, "/v1", r#"{"by_number":{"1":"a","01":"b"}}"#), "body: 1 is given twice");
    for body in [r#"{"by_text":{"1":"a","01":"b"}}"#, r#"{"value":{"struct_value":1,"structValue":2}}"#] {
        assert!(sent(&rows, "POST", "/v1", body).is_ok(), "{body}");
    }
    assert_eq!(refused(&rows, "/v1", r#"{"value":{"a":1,"a":2}}"#), "body: a is given twice");
}

#[test]
fn a_bad_body_is_refused_with_the_place_of_the_fault() {
    let rows = user_rows("post: '/v1' body: '*'");
    for (body, expected) in [
        (r#"{"nome":"x"}"#, "unrecognized field name 'nome' at line 1 column 7"),
        (r#"{"inner":{"many":[{},{"x":1}]}}"#, "inner.many[1]: unrecognized field name 'x'"),
        (r#"{"number":"seven"}"#, "number: "),
        (r#"{"number":2147483648}"#, "number: "),
        (r#"{"data":"%"}"#, "data: "),
        (r#"{"colour":"GREEN"}"#, "colour: unrecognized enum value 'GREEN'"),
        (r#"{"flag":tru}"#, "flag: expected ident"),
        ("[]", "invalid type: sequence, expected a map"),
        ("{]", "key must be a string"),
        ("{", "EOF while parsing an object"),
        ("12", "invalid type: integer"),
    ] {
        let found = refused(&rows, "/v1", body);
        assert!(found.starts_with(&format!("body: {expected}")), "{body}: {found}");
    }
    assert!(refused(&rows, "/v1", "{} {}").contains("goes on after its JSON document"));
    let mut request = open(&rows, "POST", "/v1");
    request.write(b"{\"name\":\"\xff\"}").unwrap();
    assert_eq!(request.finish().unwrap_err().status, 400);
    let deep = r#"{"inner":"#.repeat(1000);
    assert!(refused(&rows, "/v1", &deep).contains("recursion limit"));
}

#[test]
fn a_body_can_be_one_field_of_the_message() {
    let inner = user_rows("post: '/v1/{name}' body: 'inner'");
    let message = sent(&inner, "POST", "/v1/n", r#"{"name":"m"}"#).unwrap();
    assert_eq!(message.encode_to_vec(), b"\x0a\x01n\x1a\x03\x0a\x01m");
    let list = user_rows("post: '/v1/{name}' body: 'list'");
    let message = sent(&list, "POST", "/v1/n", r#"["a","b"]"#).unwrap();
    assert_eq!(message.encode_to_vec(), b"\x0a\x01n\x22\x01a\x22\x01b");
    let number = user_rows("post: '/v1' body: 'number'");
    assert_eq!(sent(&number, "POST", "/v1", " 7 ").unwrap().encode_to_vec(), b"\x10\x07");
    // Nothing but that field can be reached.
    assert!(refused(&number, "/v1", r#"7,"name":"x""#).starts_with("body: trailing characters"));
    assert!(
        refused(&inner, "/v1/n", r#"{"nome":1}"#).starts_with("body: inner: unrecognized field name 'nome'")
    );
}

#[test]
fn an_answer_can_be_one_field_of_the_message() {
    let list = user_rows("get: '/v1' response_body: 'many'");
    let entry = r#"{"name":"a","number":0,"list":[],"data":"","colour":"RED","counts":{},"flag":false,"ratio":0.0,"many":[],"big":0}"#;
    assert_eq!(answered(&list, "/v1", b"").unwrap().1, "[]");
    let message = b"\x52\x03\x0a\x01a\x52\x03\x0a\x01a";
    assert_eq!(answered(&list, "/v1", message).unwrap().1, format!("[{entry},{entry}]"));
    let one = user_rows("get: '/v1' response_body: 'inner'");
    assert_eq!(answered(&one, "/v1", b"\x1a\x03\x0a\x01a").unwrap().1, entry);
}

#[test]
fn a_body_over_the_limit_is_too_large_and_one_over_the_budget_is_refused_for_now() {
    let rows = user_rows("post: '/v1' body: '*'");
    let mut request = open(&rows, "POST", "/v1");
    request.write(&[b' '; 9_999]).unwrap();
    let problem = request.write(b"{}").unwrap_err();
    assert_eq!(
        (problem.status, &*problem.message),
        (413, "the body is larger than max_request_bytes (10000)")
    );

    let memory = Memory::new(4096);
    let mut request = open_on(&memory, &rows, "POST", "/v1");
    assert_eq!(request.write(&[b' '; 5000]).unwrap_err().status, 503);
    drop(request);
    // Few bytes that become many values.
    let mut request = open_on(&memory, &rows, "POST", "/v1");
    request.write(format!(r#"{{"list":[{}""]}}"#, r#""","#.repeat(50)).as_bytes()).unwrap();
    assert_eq!(request.finish().unwrap_err().status, 503);
    assert_eq!(memory.used(), 0);
}

#[test]
fn an_answer_that_swells_when_it_is_decoded_is_weighed_first() {
    let memory = Memory::new(100_000);
    let answer = |shape: usize| {
        let (_, mut response) = open_on(&memory, &OURS, "GET", "/v2/models/m").finish().unwrap();
        let dimensions = vec![1; shape];
        let tensor = [&[0x1a, shape as u8][..], &dimensions].concat();
        response.write(&[&[0x22, tensor.len() as u8][..], &tensor].concat()).unwrap();
        response.finish()
    };
    assert_eq!(answer(100).unwrap().status(), 200);
    let many = Memory::new(20_000);
    let (_, mut response) = open_on(&many, &OURS, "GET", "/v2/models/m").finish().unwrap();
    response.write(&b"\x22\x00".repeat(100)).unwrap();
    assert_eq!(response.finish().unwrap_err().status, 503);
    assert_eq!((memory.used(), many.used()), (0, 0));
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), json in r#"[{}\[\],:" a-z0-9\\.-]{0,60}"#) {
        static ROWS: LazyLock<Rows> = LazyLock::new(|| user_rows("post: '/v1/{name}' body: '*'"));
        for body in [&bytes[..], json.as_bytes(), &[b"{", json.as_bytes()].concat()] {
            let mut request = open(&ROWS, "POST", "/v1/n");
            let result = request.write(body).and_then(|_| request.finish());
            if let Err(problem) = result {
                prop_assert_eq!(problem.status, 400);
            }
        }
    }

    #[test]
    fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        for path in ["/v2", "/v2/health/live", "/v2/models/m", "/v2/models/m/ready"] {
            match answered(&OURS, path, &bytes) {
                Ok((status, body)) => {
                    prop_assert!(status == 200 || status == 503);
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
                }
                Err(problem) => prop_assert!(problem.status == 502 || problem.status == 503),
            }
        }
    }
}

#[test]
fn what_no_server_would_decode_is_the_clients_fault() {
    let rows = user_rows("post: '/v1/{name}' body: '*'");
    let nested =
        |depth: usize| format!(r#"{}{{"number":1}}{}"#, r#"{"inner":"#.repeat(depth), "}".repeat(depth));
    assert!(sent(&rows, "POST", "/v1/n", &nested(100)).is_ok());
    let too_deep = "body: its messages are nested deeper than 100";
    assert_eq!(refused(&rows, "/v1/n", &nested(101)), too_deep);
    assert_eq!(refused(&rows, "/v1/n", &nested(105)), too_deep);
    // Beyond that the reader of JSON gives up.
    for depth in [127, 128, 900] {
        let told = refused(&rows, "/v1/n", &nested(depth));
        assert!(told == too_deep || told.contains("recursion limit exceeded"), "{told}");
    }
}

#[test]
fn what_is_given_twice_in_a_message_of_any_type_is_refused_wherever_it_says_its_type() {
    let rows = load(&[method_of("Pack", "M", "post: '/v1' body: '*'")]).unwrap();
    for (pack, name) in [
        (r#"{"@type":"x/user.Pack","main_colour":"BLUE","mainColour":"RED"}"#, "main_colour"),
        (r#"{"mainColour":"BLUE","@type":"x/user.Pack","main_colour":"RED"}"#, "main_colour"),
        (r#"{"mainColour":"BLUE","main_colour":"RED","@type":"x/user.Pack"}"#, "main_colour"),
        (r#"{"@type":"x/user.Pack","inner":{"main_colour":1,"mainColour":1}}"#, "main_colour"),
        (r#"{"@type":"x/user.Pack","@type":"x/user.Pack"}"#, "@type"),
        (r#"{"@type":"x/y.Unknown","a":1,"a":1}"#, "a"),
    ] {
        let body = format!(r#"{{"packs":[{pack}]}}"#);
        assert_eq!(refused(&rows, "/v1", &body), format!("body: {name} is given twice"), "{body}");
    }
    let once = r#"{"packs":[{"mainColour":"BLUE","@type":"x/user.Pack","inner":{"mainColour":"BLUE"}}]}"#;
    assert!(sent(&rows, "POST", "/v1", once).is_ok());
}

#[test]
fn what_is_given_twice_is_refused_in_either_spelling_and_at_any_depth() {
    let rows = user_rows("post: '/v1/{name}' body: '*'");
    for (body, name) in [
        (r#"{"number":1,"number":1}"#, "number"),
        (r#"{"number":1,"number":null}"#, "number"),
        (r#"{"inner":{"list":[],"list":[]}}"#, "list"),
        (r#"{"many":[{},{"note":"a","note":"b"}]}"#, "note"),
        (r#"{"counts":{"a_b":1,"aB":2,"a_b":3}}"#, "a_b"),
        (r#"{"inner":{"counts":{"a":1,"\u0061":2}}}"#, "a"),
    ] {
        assert_eq!(refused(&rows, "/v1/n", body), format!("body: {name} is given twice"), "{body}");
    }
    assert!(
        sent(&rows, "POST", "/v1/n", r#"{"counts":{"a_b":1,"aB":2},"many":[{"flag":true},{"flag":true}]}"#)
            .is_ok()
    );
    let load = r#"{"parameters":{"config":"a","config":"b"}}"#;
    assert_eq!(refused(&OURS, "/v2/repository/models/m/load", load), "body: config is given twice");
    for both in [r#"{"modelName":"m","model_name":"m"}"#, r#"{"repository_name":"r","repositoryName":"r"}"#] {
        assert!(refused(&OURS, "/v2/repository/models/m/load", both).contains("is given twice"), "{both}");
    }
}
