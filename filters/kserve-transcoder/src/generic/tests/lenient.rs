//! What protobuf's JSON takes and its reader here does not, and times that have no form in it.

use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

static ROWS: LazyLock<Rows> = LazyLock::new(|| {
    load(&[descriptor_set(
        r#"rpc C(M) returns (M) { option (google.api.http) = { post: "/v1/{colour}" body: "inner" additional_bindings { post: "/v1" body: "*" } additional_bindings { get: "/v1" } }; }
           rpc D(M) returns (Times) { option (google.api.http) = { get: "/v1/raw" }; } }
           message Times { google.protobuf.Timestamp at = 1; repeated google.protobuf.Duration takes = 2; map<string, Times> more = 3; }
           service Other { rpc E(M) returns (M);"#,
    )])
    .unwrap()
});

/// The message that the server gets, where names of enums may be in any case or not.
fn read(any_case: bool, method: &str, path: &str, body: &str) -> Result<DynamicMessage, Problem> {
    let Found::Row { row, variables } = ROWS.find(method.as_bytes(), path.as_bytes())? else {
        panic!("no row")
    };
    let options = super::super::Options { case_insensitive_enums: any_case, ..plain() };
    let input = row.input.clone();
    let mut request =
        Request::new(row, variables, options, Memory::new(1 << 24).account(usize::MAX).charge());
    request.write(body.as_bytes())?;
    Ok(DynamicMessage::decode(input, &bytes(request.finish()?.0)[..]).unwrap())
}

#[test]
fn names_of_enums_may_be_in_any_case_if_that_is_configured() {
    let same = |found: Result<DynamicMessage, Problem>, expected: &str| {
        assert_eq!(found.unwrap(), sent(&ROWS, "POST", "/v1", expected).unwrap());
    };
    for name in ["BLUE", "blue", "bLuE"] {
        same(read(true, "POST", "/v1", &format!(r#"{{"colour":"{name}"}}"#)), r#"{"colour":"BLUE"}"#);
        same(
            read(true, "GET", &format!("/v1?colour={name}&number=7"), ""),
            r#"{"colour":"BLUE","number":7}"#,
        );
        same(
            read(true, "POST", &format!("/v1/{name}"), &format!(r#"{{"many":[{{"colour":"{name}"}}]}}"#)),
            r#"{"colour":"BLUE","inner":{"many":[{"colour":"BLUE"}]}}"#,
        );
    }
    for (method, path, body) in
        [("POST", "/v1", r#"{"colour":"blue"}"#), ("GET", "/v1?colour=blue", ""), ("POST", "/v1/blue", "{}")]
    {
        assert_eq!(read(false, method, path, body).unwrap_err().status, 400, "{method} {path} {body}");
    }
    for (method, path, body) in [
        ("POST", "/v1", r#"{"colour":"green"}"#),
        ("GET", "/v1?colour=bluee", ""),
        ("POST", "/v1/green", "{}"),
    ] {
        assert!(read(true, method, path, body).is_err(), "{method} {path} {body}");
    }
}

#[test]
fn a_hyphen_may_stand_for_an_underscore_in_the_name_of_an_enum() {
    let pool = prost_reflect::DescriptorPool::global();
    let values = pool.get_enum_by_name("google.protobuf.FieldDescriptorProto.Type").unwrap();
    assert_eq!(normal::enum_number(&values, "type-double"), Some(1));
    assert_eq!(normal::enum_number(&values, "Type_Double"), Some(1));
    assert_eq!(normal::enum_number(&values, "type double"), None);
}

#[test]
fn a_whole_number_in_quotes_may_have_an_exponent() {
    for (text, expected) in
        [("1e3", 1000), ("12.5e1", 125), ("-1E2", -100), ("7.0", 7), ("2147483647.0", i32::MAX)]
    {
        let body =
            format!(r#"{{"number":"{text}","many":[{{"number":"{text}"}}],"counts":{{"a":"{text}"}}}}"#);
        let found = read(false, "POST", "/v1", &body).unwrap();
        assert_eq!(found.get_field_by_name("number").unwrap().as_i32(), Some(expected), "{text}");
        let plain = body.replace(text, &expected.to_string());
        assert_eq!(found, sent(&ROWS, "POST", "/v1", &plain).unwrap(), "{text}");
    }
    for text in ["1e-1", "1.5", "1e10", "1e", "e3", ".5e1", "1e400", "+1e3", "0x1e3", "1e3 "] {
        let refused = read(false, "POST", "/v1", &format!(r#"{{"number":"{text}"}}"#));
        assert_eq!(refused.err().map(|problem| problem.status), Some(400), "{text}");
    }
    // What is wrong elsewhere is told with its place all the same.
    let problem = read(false, "POST", "/v1", r#"{"number":"1e3","inner":{"flag":"x"}}"#).unwrap_err();
    assert!(problem.message.starts_with("body: inner.flag: "), "{problem}");
    let problem = read(false, "POST", "/v1", r#"{"number":"1e3","number":1}"#).unwrap_err();
    assert!(problem.message.contains("number is given twice"), "{problem}");
}

#[test]
fn a_time_that_is_out_of_range_is_the_servers_fault() {
    let told = |message: &[u8]| match answered(&ROWS, "/v1/raw", message) {
        Ok((_, body)) => body,
        Err(problem) => format!("{} {}", problem.status, problem.message),
    };
    let bad = "502 the model server's answer is not a valid user.Times: it has a";
    let timestamp = format!("{bad} timestamp that is out of range");
    let duration = format!("{bad} duration that is out of range");
    assert_eq!(told(b""), r#"{"takes":[],"more":{}}"#);
    // Nanoseconds: one too many, and less than none.
    assert_eq!(told(b"\x0a\x06\x10\x80\x94\xeb\xdc\x03"), timestamp);
    assert_eq!(told(b"\x0a\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), timestamp);
    // The second after the last one.
    assert_eq!(told(b"\x0a\x07\x08\x80\x83\xd1\xff\xaf\x07"), timestamp);
    // Signs that differ, in a list and in a map.
    let differ = b"\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    let within = [&[0x12, differ.len() as u8][..], differ].concat();
    assert_eq!(told(&within), duration);
    let entry = [&[0x0a, 1, b'k', 0x12, within.len() as u8][..], &within].concat();
    assert_eq!(told(&[&[0x1a, entry.len() as u8][..], &entry].concat()), duration);
    // The last second, and a second and a half ago.
    assert!(told(b"\x0a\x07\x08\xff\x82\xd1\xff\xaf\x07").contains("9999-12-31T23:59:59Z"));
    let ago = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x80\xb6\xca\x91\xfe\xff\xff\xff\xff\x01";
    assert!(told(&[&[0x12, ago.len() as u8][..], ago].concat()).contains("-1.5"));
}
