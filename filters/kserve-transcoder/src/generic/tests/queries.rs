//! Query parameters as values of fields, answers in protobuf's own form, and the list of models.

use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A method whose request has every kind of field that a query can set.
static KINDS: LazyLock<Rows> = LazyLock::new(|| {
    load(&[descriptor_set(
        r#"rpc C(Kinds) returns (M) { option (google.api.http) = { get: "/v1" }; } }
           message Kinds {
               int32 page_size = 1;
               repeated int64 ids = 2;
               Colour colour = 3;
               repeated Colour colours = 4;
               bytes data = 5;
               bool flag = 6;
               double ratio = 7;
               M inner = 8;
               google.protobuf.FieldMask update_mask = 9;
               google.protobuf.Timestamp start_time = 10;
               google.protobuf.Duration max_age = 11;
               google.protobuf.Int64Value limit = 12;
               google.protobuf.StringValue label = 13;
               google.protobuf.BoolValue dry_run = 14;
               oneof way { string by_name = 15; uint32 by_number = 16; }
               repeated google.protobuf.Timestamp times = 17;
               google.protobuf.BytesValue blob = 18;
           }
           service Other { rpc D(M) returns (M);"#,
    )])
    .unwrap()
});

fn bound(query: &str) -> Result<serde_json::Value, String> {
    let sent = sent(&KINDS, "GET", &format!("/v1?{query}"), "").map_err(|problem| {
        assert_eq!(problem.status, 400);
        problem.message.into_owned()
    })?;
    let printed = Printed(&sent, &Print::new(AnswerForm::Proto, None).serialize_options())
        .serialize(serde_json::value::Serializer);
    Ok(printed.unwrap())
}

#[test]
fn a_parameter_becomes_a_value_of_its_fields_type() {
    for (query, expected) in [
        ("page_size=5", r#"{"page_size":5}"#),
        ("pageSize=-5", r#"{"page_size":-5}"#),
        ("ids=9007199254740993&ids=2", r#"{"ids":["9007199254740993","2"]}"#),
        ("colour=BLUE&colours=1&colours=RED", r#"{"colour":"BLUE","colours":["BLUE","RED"]}"#),
        ("data=AP8", r#"{"data":"AP8="}"#),
        ("data=_-8%3D&blob=%2B%2F8=", r#"{"data":"/+8=","blob":"+/8="}"#),
        ("flag=true&ratio=1.5e3", r#"{"flag":true,"ratio":1500.0}"#),
        ("inner.inner.number=7&inner.name=x", r#"{"inner":{"name":"x","inner":{"number":7}}}"#),
        ("inner.list=a&inner.list=b", r#"{"inner":{"list":["a","b"]}}"#),
        ("update_mask=title,displayName,a.b_c", r#"{"update_mask":"title,displayName,a.bC"}"#),
        (
            "startTime=2026-11-28T01:02:03Z&max_age=1.5s",
            r#"{"start_time":"2026-11-28T01:02:03Z","max_age":"1.500s"}"#,
        ),
        ("times=1970-01-01T00:00:00Z", r#"{"times":["1970-01-01T00:00:00Z"]}"#),
        ("limit=0&label=&dry_run=false", r#"{"limit":"0","label":"","dry_run":false}"#),
        ("by_number=0", r#"{"by_number":0}"#),
    ] {
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        assert_eq!(bound(query), Ok(expected), "{query}");
    }
}

#[test]
fn a_value_that_its_field_cannot_have_is_named_with_its_parameter() {
    for (query, error) in [
        ("page_size=", "'page_size': '' is not a valid int32"),
        ("page_size=5.0", "'page_size': '5.0' is not a valid int32"),
        ("pageSize=2147483648", "'pageSize': '2147483648' is not a valid int32"),
        ("page_size=5&pageSize=6", "'pageSize': it is there twice"),
        ("page_size=0&page_size=0", "'page_size': it is there twice"),
        ("colour=GREEN", "'colour': 'GREEN' is not a valid user.Colour"),
        ("flag=maybe", "'flag': 'maybe' is not a valid bool"),
        ("data=%21", "'data': '!' is not a valid bytes"),
        ("start_time=yesterday", "'start_time': 'yesterday' is not a valid google.protobuf.Timestamp"),
        ("limit=many", "'limit': 'many' is not a valid google.protobuf.Int64Value"),
        ("by_name=x&by_number=1", "'by_number': it and by_name exclude each other"),
    ] {
        assert_eq!(bound(query), Err(format!("query parameter {error}")), "{query}");
    }
}

#[test]
fn what_a_query_becomes_is_charged() {
    let memory = Memory::new(200_000);
    let query = "inner.inner.list=x&".repeat(200);
    let request = open_on(&memory, &KINDS, "GET", &format!("/v1?{query}"));
    assert_eq!(request.finish().unwrap_err().status, 503);
    assert_eq!(memory.used(), 0);
}

#[test]
fn in_protobufs_form_an_answer_is_its_message_and_nothing_else() {
    let proto = |rows: &Rows, path: &str, message: &[u8]| {
        answered_in(AnswerForm::Proto, rows, path, message).unwrap()
    };
    let message = |rows: &Rows, json: &str| {
        let Ok(Found::Row { row, .. }) = rows.find(b"GET", b"/v1") else { panic!("no row") };
        parse(&row.output, &[], plain(), json.as_bytes()).unwrap().encode_to_vec()
    };
    let rows = user_rows("get: '/v1'");
    let full = r#"{"number":0,"big":"18446744073709551615","colour":"BLUE","data":"AP8=","counts":{"a":"1"},"note":""}"#;
    assert_eq!(
        proto(&rows, "/v1", &message(&rows, full)).1,
        r#"{"data":"AP8=","colour":"BLUE","counts":{"a":"1"},"big":"18446744073709551615","note":""}"#
    );
    let many = user_rows("get: '/v1' response_body: 'many'");
    assert_eq!(proto(&many, "/v1", &message(&many, r#"{"many":[{"big":"7"},{}]}"#)).1, r#"[{"big":"7"},{}]"#);
    let metadata = super::message(
        "ModelMetadataResponse",
        r#"{"name":"m","inputs":[{"name":"x","datatype":"FP32","shape":["-1","4"]}]}"#,
    );
    assert_eq!(
        proto(&OURS, "/v2/models/m", &metadata).1,
        r#"{"name":"m","inputs":[{"name":"x","datatype":"FP32","shape":["-1","4"]}]}"#
    );
    // What is not ready is a 503 in every form.
    assert_eq!(proto(&OURS, "/v2/models/m/ready", b"\x08\x01"), (200, r#"{"ready":true}"#.into()));
    assert_eq!(proto(&OURS, "/v2/models/m/ready", b""), (503, "{}".into()));
}

#[test]
fn in_protobufs_form_the_options_of_tritons_definitions_do_not_count() {
    let of = |method: &str, path: &str, message: &[u8]| {
        let request = open_in(AnswerForm::Proto, &Memory::new(1 << 24), &OURS, method, path);
        let (_, mut response) = request.finish().unwrap();
        response.write(message).unwrap();
        let mut body = Vec::new();
        response.finish().unwrap().render(&mut body);
        String::from_utf8(body).unwrap()
    };
    assert_eq!(of("POST", "/v2/repository/models/m/load", b""), "{}");
    // Region "r" with byte_size 64, and a setting with one value.
    let regions = b"\x0a\x0a\x0a\x01r\x12\x05\x0a\x01r\x20\x40";
    assert_eq!(of("GET", "/v2/systemsharedmemory/status", regions), r#"{"r":{"name":"r","byte_size":"64"}}"#);
    let settings = b"\x0a\x0b\x0a\x04rate\x12\x03\x0a\x01x";
    assert_eq!(of("GET", "/v2/trace/setting", settings), r#"{"rate":{"value":["x"]}}"#);
}

#[test]
fn the_list_of_models_has_each_name_once_and_asks_for_those_that_are_ready() {
    let rows = Rows::load(Options { list_models: true, ..Options::default() }).unwrap();
    for form in [AnswerForm::Kserve, AnswerForm::Proto] {
        let request = open_in(form, &Memory::new(1 << 24), &rows, "GET", "/v2/models");
        let (message, mut answer) = request.finish().unwrap();
        // RepositoryIndexRequest.ready
        assert_eq!(bytes(message), b"\x10\x01");
        answer.write(b"\x0a\x03\x0a\x01b\x0a\x06\x0a\x01b\x12\x012\x0a\x03\x0a\x01a").unwrap();
        let mut body = Vec::new();
        answer.finish().unwrap().render(&mut body);
        assert_eq!(body, br#"{"models":["b","a"]}"#);
    }
    let (_, none) = open(&rows, "GET", "/v2/models").finish().unwrap();
    let mut body = Vec::new();
    none.finish().unwrap().render(&mut body);
    assert_eq!(body, br#"{"models":[]}"#);
}
