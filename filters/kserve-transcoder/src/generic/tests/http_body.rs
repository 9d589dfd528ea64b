//! Bodies that are not JSON.

use super::*;
use crate::codec::Beginning;
use crate::rows::tests::method_of;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const BODY: &str = "google.api.HttpBody";

/// A codec for a request with a body of this type.
fn open_raw(
    rows: &Rows,
    path: &str,
    content_type: &[u8],
    memory: &Arc<Memory>,
) -> Result<Box<dyn RequestCodec>, Problem> {
    let Ok(Found::Row { row, variables }) = rows.find(b"POST", path.as_bytes()) else {
        panic!("no row for {path}");
    };
    let options = super::super::Options { max_request_bytes: 1000, ..plain() };
    let content_type = || Some(content_type.to_vec());
    request(row, variables, options, content_type, memory.account(usize::MAX).charge())
}

fn message(rows: &Rows, path: &str, content_type: &str, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut codec = open_raw(rows, path, content_type.as_bytes(), &Memory::new(1 << 20))?;
    for piece in body.chunks(3) {
        assert_eq!(codec.write(piece)?, Progress::More);
    }
    Ok(bytes(codec.finish()?.0))
}

#[test]
fn a_body_goes_into_its_message_as_it_is() {
    let rows = load(&[method_of(BODY, "M", r#"post: "/v1/raw" body: "*""#)]).unwrap();
    let expected = b"\x0a\x09image/png\x12\x04\x00\xff{x";
    assert_eq!(message(&rows, "/v1/raw", "image/png", b"\x00\xff{x").unwrap(), expected);
    assert_eq!(message(&rows, "/v1/raw", "", b"  ").unwrap(), b"\x12\x02  ");
    assert_eq!(
        message(&rows, "/v1/raw", "text/plain; charset=utf-8", b"").unwrap(),
        b"\x0a\x19text/plain; charset=utf-8"
    );
    assert_eq!(message(&rows, "/v1/raw", "", b"").unwrap(), b"");
    // A query has no place in it.
    assert!(rows.find(b"POST", b"/v1/raw?content_type=x").is_err());
}

#[test]
fn a_field_that_is_the_body_stands_in_its_place_between_what_the_url_says() {
    let rows = load(&[method_of("Upload", "M", r#"post: "/v1/{name}" body: "file""#)]).unwrap();
    assert_eq!(
        message(&rows, "/v1/n?number=7", "a/b", b"xyz").unwrap(),
        b"\x0a\x01n\x1a\x0a\x0a\x03a/b\x12\x03xyz\x28\x07"
    );
    assert_eq!(message(&rows, "/v1/n", "", b"").unwrap(), b"\x0a\x01n\x1a\x00");
    let Err(problem) = rows.find(b"POST", b"/v1/n?file.data=x") else { panic!("it was bound") };
    assert!(problem.message.contains("belongs in the body"), "{problem}");
}

#[test]
fn a_raw_body_has_the_limits_of_any_other_and_costs_what_it_has() {
    let rows = load(&[method_of(BODY, "M", r#"post: "/v1/raw" body: "*""#)]).unwrap();
    let problem = message(&rows, "/v1/raw", "", &[7; 1001]).unwrap_err();
    assert_eq!(
        (problem.status, &*problem.message),
        (413, "the body is larger than max_request_bytes (1000)")
    );
    let memory = Memory::new(1000);
    let mut codec = open_raw(&rows, "/v1/raw", b"", &memory).unwrap();
    codec.write(&[7; 100]).unwrap();
    assert!((100..700).contains(&memory.used()), "{}", memory.used());
    let problem = codec.write(&[7; 900]).unwrap_err();
    assert_eq!(problem.status, 503);
    drop(codec);
    assert_eq!(memory.used(), 0);
    let problem = open_raw(&rows, "/v1/raw", b"\xff", &memory).map(drop).unwrap_err();
    assert_eq!((problem.status, &*problem.message), (400, "content-type is not valid UTF-8"));
}

/// The type and the body of an answer.
fn raw_answer(rows: &Rows, answer: &[u8], step: usize) -> Result<(String, Vec<u8>), Problem> {
    let mut codec = open(rows, "GET", "/v1/raw").finish()?.1;
    assert!(codec.decides_content_type());
    for piece in answer.chunks(step) {
        codec.write(piece)?;
    }
    let answer = codec.finish()?;
    let content_type = answer.content_type().unwrap().to_owned();
    let mut body = Vec::new();
    answer.render(&mut body);
    Ok((content_type, body))
}

#[test]
fn an_answer_is_the_bytes_of_its_message_with_the_type_that_it_names() {
    let whole = load(&[method_of("M", BODY, r#"get: "/v1/raw""#)]).unwrap();
    let field = load(&[method_of("M", "Upload", r#"get: "/v1/raw" response_body: "file""#)]).unwrap();
    let octets = "application/octet-stream";
    for (rows, answer, content_type, body) in [
        (&whole, &b"\x0a\x03a/b\x12\x03x\x00y"[..], "a/b", &b"x\0y"[..]),
        (&whole, b"\x12\x03x\x00y\x0a\x03a/b", "a/b", b"x\0y"),
        (&whole, b"\x12\x01x\x12\x02yz", octets, b"yz"),
        (&whole, b"\x0a\x02  \x12\x00", octets, b""),
        (&whole, b"", octets, b""),
        (&whole, b"\x0a\x03a/b\x12\x01x\x1a\x04\x0a\x02t/\x38\x07", "a/b", b"x"),
        (&field, b"\x0a\x01n\x1a\x08\x0a\x03a/b\x12\x01x\x28\x07", "a/b", b"x"),
        (&field, b"\x1a\x05\x0a\x03a/b\x1a\x03\x12\x01x", "a/b", b"x"),
        (&field, b"\x0a\x03a/b\x12\x01x\x1a\x00", octets, b""),
        (&field, b"", octets, b""),
    ] {
        for step in [1, 2, 5, 1000] {
            let found = raw_answer(rows, answer, step).unwrap();
            assert_eq!(found, (content_type.to_owned(), body.to_vec()), "{answer:02x?} in pieces of {step}");
        }
    }
}

#[test]
fn an_answer_that_is_no_such_message_or_whose_type_breaks_headers_is_the_servers_fault() {
    let rows = load(&[method_of("M", BODY, r#"get: "/v1/raw""#)]).unwrap();
    let long = [&b"\x0a\x81\x08"[..], &[b'x'; 1025]].concat();
    for (answer, told) in [
        (&b"\x0a\x03a/"[..], "it is cut"),
        (b"\x0a\x03a\x0db", "its content_type cannot stand in a header"),
        (b"\x0a\x02a\x00", "its content_type cannot stand in a header"),
        (b"\x0a\x02\xc3\xa9", "its content_type cannot stand in a header"),
        (&long, "its content_type is longer than 1024 bytes"),
        (b"\x0f", "it has a field of an unknown wire type"),
    ] {
        let problem = raw_answer(&rows, answer, 2).unwrap_err();
        let expected = format!("the model server's answer is not a valid google.api.HttpBody: {told}");
        assert_eq!((problem.status, &*problem.message), (502, &*expected));
    }
}

#[test]
fn a_large_answer_begins_once_nothing_but_its_data_is_to_come() {
    let whole = load(&[method_of("M", BODY, r#"get: "/v1/raw""#)]).unwrap();
    let field = load(&[method_of("M", "Upload", r#"get: "/v1/raw" response_body: "file""#)]).unwrap();
    for (rows, answer, begins) in [
        (&whole, &b"\x0a\x03a/b\x12\x03xyz"[..], Some(7)),
        (&field, b"\x0a\x01n\x1a\x0a\x0a\x03a/b\x12\x03xyz", Some(12)),
        // A type, or something else, is still to come.
        (&whole, b"\x12\x03xyz\x0a\x03a/b", None),
        (&field, b"\x1a\x0a\x0a\x03a/b\x12\x03xyz\x28\x07", None),
    ] {
        let mut codec = open(rows, "GET", "/v1/raw").finish().unwrap().1;
        codec.stream(answer.len());
        let (mut begun, mut body) = (None, Vec::new());
        for (at, byte) in answer.iter().enumerate() {
            codec.write(&[*byte]).unwrap();
            if begun.is_none() && codec.begin(None).unwrap() == (Beginning::Now { json_bytes: None }) {
                assert_eq!(codec.content_type(), Some("a/b"));
                begun = Some(at + 1);
            }
            if begun.is_some() {
                codec.flow(&mut body).unwrap();
            }
        }
        codec.finish().unwrap().render(&mut body);
        assert_eq!((begun, &body[..]), (begins, &b"xyz"[..]), "{answer:02x?}");
    }
}
