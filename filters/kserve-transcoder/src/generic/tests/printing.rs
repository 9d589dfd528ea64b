//! Answers as `print_options` has them, and bodies with unknown members.

use super::*;
use crate::generic::{Options, Print};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn options(print_options: &str, ignore_unknown_fields: bool) -> Options {
    let options = serde_json::from_str(print_options).unwrap();
    Options {
        print: Print::new(AnswerForm::Proto, Some(options)),
        ignore_unknown_fields,
        case_insensitive_enums: false,
        max_request_bytes: 10_000,
    }
}

fn request(rows: &Rows, method: &str, options: Options) -> Box<Request> {
    let Ok(Found::Row { row, variables }) = rows.find(method.as_bytes(), b"/v1") else { panic!("no row") };
    Request::new(row, variables, options, Memory::new(1 << 24).account(usize::MAX).charge())
}

fn printed(print_options: &str, json: &str) -> String {
    let rows = user_rows("get: '/v1'");
    let Ok(Found::Row { row, .. }) = rows.find(b"GET", b"/v1") else { panic!("no row") };
    let message = parse(&row.output, &[], plain(), json.as_bytes()).unwrap().encode_to_vec();
    let (_, mut response) = request(&rows, "GET", options(print_options, false)).finish().unwrap();
    response.write(&message).unwrap();
    let mut body = Vec::new();
    response.finish().unwrap().render(&mut body);
    String::from_utf8(body).unwrap()
}

#[test]
fn print_options_have_the_meaning_and_the_defaults_of_envoys_own_transcoder() {
    let json = r#"{"big":"7","colour":"BLUE","many":[{"flag":true}]}"#;
    assert_eq!(printed("{}", json), r#"{"colour":"BLUE","many":[{"flag":true}],"big":"7"}"#);
    assert_eq!(
        printed(r#"{"always_print_enums_as_ints":true}"#, json),
        r#"{"colour":1,"many":[{"flag":true}],"big":"7"}"#
    );
    assert_eq!(
        printed(r#"{"add_whitespace":true}"#, json),
        "{\n \"colour\": \"BLUE\",\n \"many\": [\n  {\n   \"flag\": true\n  }\n ],\n \"big\": \"7\"\n}\n"
    );
    assert_eq!(
        printed(r#"{"always_print_primitive_fields":true}"#, "{}"),
        r#"{"name":"","number":0,"list":[],"data":"","colour":"RED","counts":{},"flag":false,"ratio":0.0,"many":[],"big":"0"}"#
    );
}

#[test]
fn members_that_name_no_field_are_left_out_where_they_are_to_be_ignored() {
    let rows = user_rows("post: '/v1' body: '*'");
    let body = br#"{"nmae":{"a":[1]},"number":3,"inner":{"x":1,"name":"n"}}"#;
    let mut strict = request(&rows, "POST", options("{}", false));
    strict.write(body).unwrap();
    assert!(strict.finish().unwrap_err().message.contains("nmae"));

    let mut lenient = request(&rows, "POST", options("{}", true));
    lenient.write(body).unwrap();
    let (message, _) = lenient.finish().unwrap();
    // number = 3, inner { name: "n" }
    assert_eq!(bytes(message), b"\x10\x03\x1a\x03\x0a\x01n");
}

#[test]
fn a_double_is_read_to_its_last_bit() {
    let rows = user_rows("post: '/v1' body: '*'");
    let mut request = request(&rows, "POST", options("{}", false));
    request.write(br#"{"ratio":2.22507e-308}"#).unwrap();
    let (message, _) = request.finish().unwrap();
    assert_eq!(bytes(message)[1..], 2.22507e-308_f64.to_le_bytes());
}
