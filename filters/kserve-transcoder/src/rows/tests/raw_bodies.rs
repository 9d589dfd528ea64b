//! Bodies that are passed on as they are, and methods that have no rule.

use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn a_path_says_nothing_of_what_is_in_a_raw_body() {
    const BODY: &str = "google.api.HttpBody";
    for (input, rule, told) in [
        (BODY, r#"post: "/v1/{content_type}" body: "*""#, "'content_type' is in a google.api.HttpBody"),
        ("Upload", r#"post: "/v1/{file.content_type}" body: "file""#, "'file.content_type' is in a google"),
    ] {
        let found = refused(&[method_of(input, "M", rule)]);
        assert!(found.contains(told), "{rule}: {found}");
    }
    // Beside it, and where such a message is a part of JSON.
    for (input, rule) in [
        ("Upload", r#"post: "/v1/{name}" body: "file""#),
        ("Upload", r#"post: "/v1/{file.content_type}" body: "*""#),
        ("Upload", r#"post: "/v1/{name}" body: "files""#),
    ] {
        load(&[method_of(input, "M", rule)]).unwrap();
    }
}

#[test]
fn an_answer_of_its_own_type_needs_headers_that_wait_for_it() {
    const BODY: &str = "google.api.HttpBody";
    let get = || method_of("M", BODY, r#"get: "/v1/{name}""#);
    let post = || method_of("M", BODY, r#"post: "/v1/x" body: "*""#);
    let field = || method_of("M", "Upload", r#"post: "/v1/x" body: "*" response_body: "file""#);
    let list = || method_of("M", "Upload", r#"post: "/v1/x" body: "*" response_body: "files""#);
    let load = |set: Vec<u8>, raw_answers| {
        Rows::load(Options { raw_answers, ..of_sets(&[set]) }).map(drop).map_err(|error| error.to_string())
    };
    for set in [get(), post(), field(), list()] {
        assert_eq!(load(set, RawAnswers::Any), Ok(()));
    }
    for set in [get(), list()] {
        assert_eq!(load(set, RawAnswers::ByCall), Ok(()));
    }
    for (set, raw_answers) in [
        (post(), RawAnswers::ByCall),
        (field(), RawAnswers::ByCall),
        (get(), RawAnswers::Never),
        (post(), RawAnswers::Never),
    ] {
        let refused = load(set, raw_answers).unwrap_err();
        assert!(refused.contains("it needs hold_response_headers: true"), "{refused}");
    }
}

#[test]
fn a_method_without_a_rule_is_a_row_of_its_grpc_path_if_that_is_configured() {
    let set = descriptor_set(
        r#"rpc Plain(M) returns (M); rpc Ruled(M) returns (M) { option (google.api.http) = { get: "/v1" }; }
           rpc Streams(M) returns (stream M);"#,
    );
    let rows =
        |auto_mapping| Rows::load(Options { auto_mapping, ..of_sets(std::slice::from_ref(&set)) }).unwrap();
    let mapped = rows(true);
    assert_eq!(find(&mapped, "POST", "/user.S/Plain"), "Plain");
    assert_eq!(find(&mapped, "GET", "/user.S/Plain"), "allow: POST");
    assert_eq!(find(&mapped, "GET", "/v1"), "Ruled");
    for path in ["/user.S/Ruled", "/user.S/Streams", "/inference.GRPCInferenceService/ServerLive"] {
        assert_eq!(find(&mapped, "POST", path), "not ours", "{path}");
    }
    assert_eq!(find(&rows(false), "POST", "/user.S/Plain"), "not ours");
    // It is enough to have such methods.
    let plain = descriptor_set("rpc Plain(M) returns (M);");
    assert!(refused(std::slice::from_ref(&plain)).contains("none of its methods has a google.api.http rule"));
    Rows::load(Options { auto_mapping: true, ..of_sets(&[plain]) }).unwrap();
}
