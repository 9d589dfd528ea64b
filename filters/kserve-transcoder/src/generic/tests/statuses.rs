//! Statuses of servers as the JSON of a `google.rpc.Status`.

use super::*;
use crate::generic::{PrintOptions, Statuses};
use crate::status::Status;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const TYPES: &str = "type.googleapis.com/";

/// A field of bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        field.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(content);
    field
}

fn detail(name: &str, content: &[u8]) -> Vec<u8> {
    [field(1, format!("{TYPES}{name}").as_bytes()), field(2, content)].concat()
}

/// NOT_FOUND, with details.
fn status(message: &str, details: &[Vec<u8>]) -> Vec<u8> {
    let details: Vec<u8> = details.iter().flat_map(|detail| field(3, detail)).collect();
    [b"\x08\x05".to_vec(), field(2, message.as_bytes()), details].concat()
}

fn received(details: &[u8]) -> Status {
    let headers =
        [("grpc-status", &b"9"[..]), ("grpc-message", b"not%20so%0A"), ("grpc-status-details-bin", details)];
    Status::find(&headers.map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()))).unwrap()
}

fn of_sets(sets: &[Vec<u8>], print: &str, memory: &Arc<Memory>) -> (Statuses, Arc<Row>) {
    let rows = load(sets).unwrap();
    let Ok(Found::Row { row, .. }) = rows.find(b"GET", b"/v1") else { panic!("no row") };
    let options: PrintOptions = serde_json::from_str(print).unwrap();
    let print = Print::new(AnswerForm::Proto, Some(options));
    (Statuses::new(rows.users_pools(), print, memory.account(usize::MAX)).unwrap(), row.clone())
}

fn told_as(print: &str, details: &[u8]) -> String {
    let memory = Memory::new(1 << 24);
    let (statuses, row) = of_sets(&[method("get: '/v1'")], print, &memory);
    let told = String::from_utf8(statuses.json(&received(details), &row)).unwrap();
    assert_eq!(memory.used(), 0);
    told
}

fn told(bytes: &[u8]) -> String {
    told_as("{}", STANDARD.encode(bytes).as_bytes())
}

#[test]
fn a_status_has_the_details_that_the_server_sends_as_the_options_print_messages() {
    let packed = detail("user.Pack", b"\x10\x01");
    let bytes = status("no", &[packed]);
    assert_eq!(
        told(&bytes),
        r#"{"code":5,"message":"no","details":[{"@type":"type.googleapis.com/user.Pack","mainColour":"BLUE"}]}"#
    );
    assert_eq!(
        told_as(
            r#"{"preserve_proto_field_names":true,"always_print_enums_as_ints":true}"#,
            STANDARD.encode(&bytes).as_bytes()
        ),
        r#"{"code":5,"message":"no","details":[{"@type":"type.googleapis.com/user.Pack","main_colour":1}]}"#
    );
    assert_eq!(
        told_as(r#"{"add_whitespace":true}"#, STANDARD.encode(status("no", &[])).as_bytes()),
        "{\n \"code\": 5,\n \"message\": \"no\"\n}\n"
    );
    assert_eq!(
        told_as(r#"{"always_print_primitive_fields":true}"#, STANDARD.encode(b"\x08\x05").as_bytes()),
        r#"{"code":5,"message":"","details":[]}"#
    );
}

#[test]
fn details_are_read_with_padding_and_without() {
    for message in ["", "a", "ab", "abc"] {
        let bytes = status(message, &[]);
        let padded = told_as("{}", STANDARD.encode(&bytes).as_bytes());
        assert_eq!(padded, told_as("{}", STANDARD_NO_PAD.encode(&bytes).as_bytes()));
        assert!(padded.starts_with(r#"{"code":5"#), "{padded}");
    }
}

#[test]
fn what_is_no_status_leaves_the_code_and_the_message_of_the_call() {
    let own = r#"{"code":9,"message":"not so\n"}"#;
    for details in [&b""[..], b"!", b"CAU=AA", b"\xff", b"=", b"CA", b"GgU="] {
        assert_eq!(told_as("{}", details), own, "{}", details.escape_ascii());
    }
    // A message that is not UTF-8, and a length behind the end.
    for bytes in
        [&b"\x08\x05\x12\x01\xff"[..], b"\x12\x7fa", b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0c"]
    {
        assert_eq!(told(bytes), own, "{}", bytes.escape_ascii());
    }
    // A negative code, and fields that a status does not have.
    assert_eq!(told(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x22\x01a\x10\x01"), r#"{"code":-1}"#);
}

#[test]
fn a_detail_that_cannot_be_explained_is_left_out_and_the_others_stay() {
    let good = detail("user.M", b"\x0a\x01a");
    let bad = [
        detail("other.M", b""),
        detail("user.M", b"\x0a\x05a"),
        detail("user.M", b"\x0a\x01\xff"),
        detail("google.protobuf.Timestamp", b"\x08\x80\xa0\xc9\xf2\xee\xee\xee\x7f"),
        detail("user.Pack", &field(1, &detail("other.M", b""))),
        field(1, b"user.M"),
        b"\x0a".to_vec(),
        Vec::new(),
    ];
    for bad in bad {
        let told = told(&status("no", &[bad.clone(), good.clone()]));
        let expected =
            r#"{"code":5,"message":"no","details":[{"@type":"type.googleapis.com/user.M","name":"a"}]}"#;
        assert_eq!(told, expected, "{}", bad.escape_ascii());
    }
    assert_eq!(told(&status("no", &[detail("other.M", b"")])), r#"{"code":5,"message":"no"}"#);
}

#[test]
fn a_detail_may_be_of_a_well_known_type_or_have_others_packed_into_it() {
    let packed = detail("user.Pack", &field(1, &detail("google.protobuf.Duration", b"\x08\x03")));
    assert_eq!(
        told(&status("no", &[detail("google.protobuf.StringValue", b"\x0a\x01s"), packed])),
        r#"{"code":5,"message":"no","details":[{"@type":"type.googleapis.com/google.protobuf.StringValue","value":"s"},{"@type":"type.googleapis.com/user.Pack","packs":[{"@type":"type.googleapis.com/google.protobuf.Duration","value":"3s"}]}]}"#
    );
}

#[test]
fn details_packed_into_one_another_without_end_are_left_out() {
    let nested = |levels: usize| {
        (0..levels).fold(detail("user.M", b""), |inner, _| detail("google.protobuf.Any", &inner))
    };
    assert!(told(&status("no", &[nested(90)])).contains("user.M"));
    // As many as Envoy's limit for trailers, 60 KiB, has room for.
    assert_eq!(told(&status("no", &[nested(1000)])), r#"{"code":5,"message":"no"}"#);
}

/// Each is decoded only as it is printed, one inside the other: so many once overflowed the stack.
#[test]
fn an_answer_with_messages_packed_into_one_another_without_end_is_a_bad_one() {
    let rows = load(&[method_of("M", "Pack", "get: '/v1'")]).unwrap();
    let answer = |levels: usize| {
        let inner = (0..levels).fold(detail("user.M", b""), |inner, _| detail("google.protobuf.Any", &inner));
        answered(&rows, "/v1", &field(1, &inner))
    };
    assert!(answer(90).unwrap().1.contains("user.M"));
    let problem = answer(1000).unwrap_err();
    assert_eq!(problem.status, 502);
    assert!(
        problem.message.ends_with("not a valid user.Pack: its messages are nested too deep"),
        "{problem}"
    );
}

#[test]
fn a_type_is_looked_for_in_the_paths_own_set_first_and_then_in_the_others() {
    let of = |path: &str, source: &str| {
        let http = r#"import "google/api/annotations.proto";"#;
        let rpc = format!(r#"rpc C(M) returns (M) {{ option (google.api.http) = {{ get: "{path}" }}; }}"#);
        compiled(&format!(r#"syntax = "proto3"; package one; {http} {source} service S {{ {rpc} }}"#))
    };
    let first = of("/a", "message M { string first = 1; } message Only { string first = 1; }");
    let second = of("/v1", "message M { string second = 1; }");
    let memory = Memory::new(1 << 24);
    let (statuses, row) = of_sets(&[first, second], "{}", &memory);
    let details = [detail("one.M", b"\x0a\x01a"), detail("one.Only", b"\x0a\x01a")];
    let told = statuses.json(&received(STANDARD.encode(status("", &details)).as_bytes()), &row);
    assert_eq!(
        String::from_utf8(told).unwrap(),
        r#"{"code":5,"details":[{"@type":"type.googleapis.com/one.M","second":"a"},{"@type":"type.googleapis.com/one.Only","first":"a"}]}"#
    );
}

#[test]
fn in_a_stream_a_status_is_one_line() {
    let set = descriptor_set("rpc C(M) returns (stream M) { option (google.api.http) = { get: '/v1' }; }");
    let (statuses, row) =
        of_sets(&[set], r#"{"add_whitespace":true,"stream_newline_delimited":true}"#, &Memory::new(1 << 24));
    let told = statuses.json(&received(STANDARD.encode(status("no", &[])).as_bytes()), &row);
    assert_eq!(told, br#"{"code":5,"message":"no"}"#);
}

#[test]
fn details_without_room_leave_the_code_and_the_message_of_the_call() {
    let memory = Memory::new(8 * 1024);
    let (statuses, row) = of_sets(&[method("get: '/v1'")], "{}", &memory);
    // A flag is a byte on the wire and a whole value after it.
    let bytes = status("no", &[detail("user.M", &[0x40; 30_000])]);
    let told = statuses.json(&received(STANDARD.encode(bytes).as_bytes()), &row);
    assert_eq!(told, br#"{"code":9,"message":"not so\n"}"#);
    assert_eq!(memory.used(), 0);
}

#[test]
fn whatever_a_server_sends_is_told_as_json() {
    let (statuses, row) = of_sets(&[method("get: '/v1'")], "{}", &Memory::new(1 << 24));
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..200_usize)| {
        let packed = status("no", &[detail("user.Pack", &bytes), detail("user.M", &bytes)]);
        for bytes in [&bytes[..], &packed[..], &packed[..cut.min(packed.len())]] {
            for details in [STANDARD.encode(bytes).into_bytes(), bytes.to_vec()] {
                let told = statuses.json(&received(&details), &row);
                let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
                prop_assert!(told.is_object());
            }
        }
    });
}
