//! What may come at the end of a body, however it is cut.
#![allow(clippy::unwrap_used)] // Tests; clippy sees their helpers as something else.

use kserve_transcoder::KserveTranscoder;
use testkit::{Case, Chunking, Column, Outcome, frame, run_on_core};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Posts a body, and answers with a message without its frame.
fn infer(
    body: &[u8],
    json_length: Option<usize>,
    message: &[u8],
    column: Column,
    chunking: Chunking,
) -> Outcome {
    let text = r#"
        story = "a body, and an answer"
        [request]
        method = "POST"
        path = "/v2/models/m/infer"
        [answer]
        [expect]
    "#;
    let mut case = Case::parse("made", text).unwrap();
    case.request.body.bytes = body.to_vec();
    let length = json_length.map(|length| ("inference-header-content-length".to_owned(), length.to_string()));
    case.request.headers.extend(length);
    case.answer.as_mut().unwrap().body.bytes = frame(message);
    run_on_core::<KserveTranscoder>(&case, column, chunking).unwrap()
}

#[test]
fn white_space_may_follow_a_document_and_nothing_else() {
    for (end, status) in
        [(&b" \t\r\n"[..], 200), (b"\x0c", 400), (b"\0", 400), (b"\xc2\xa0", 400), (b"{}", 400)]
    {
        let body = [br#"{"inputs":[]}"#, end].concat();
        for chunking in Chunking::ALL {
            let outcome = infer(&body, None, b"", Column::Native, chunking);
            assert_eq!(outcome.got.status, status, "{end:?} {chunking:?}");
        }
    }
}

#[test]
fn white_space_counts_for_the_largest_body_wherever_it_stands_and_however_it_is_cut() {
    for (method, path, body, status) in [
        ("POST", "/v2/models/m/infer", r#"{"inputs":[]}"#, 200),
        ("POST", "/v2/repository/index", "{}", 200),
        ("GET", "/v2/models/m", "", 200),
    ] {
        let text = format!(
            "story = \"a large body\"\nconfig = '{{\"max_request_bytes\":100}}'\n[request]\nmethod = \"{method}\"\npath = \"{path}\"\n[answer]\n[expect]\n"
        );
        let mut case = Case::parse("made", &text).unwrap();
        case.answer.as_mut().unwrap().body.bytes = frame(b"");
        for (blanks, status) in [(100 - body.len(), status), (101 - body.len(), 413)] {
            for padded in [format!("{body}{}", " ".repeat(blanks)), format!("{}{body}", " ".repeat(blanks))] {
                case.request.body.bytes = padded.into_bytes();
                for chunking in Chunking::ALL {
                    let outcome = run_on_core::<KserveTranscoder>(&case, Column::Native, chunking).unwrap();
                    assert_eq!(outcome.got.status, status, "{path}, {blanks} blanks, {chunking:?}");
                }
            }
        }
    }
}

#[test]
fn nothing_may_follow_the_last_binary_tensor_not_even_white_space() {
    let json =
        br#"{"inputs":[{"name":"x","shape":[2],"datatype":"INT8","parameters":{"binary_data_size":2}}]}"#;
    for (end, status) in [(&b""[..], 200), (b"\n", 400), (b"\x03", 400)] {
        let body = [&json[..], b"\x01\x02", end].concat();
        for chunking in Chunking::ALL {
            let outcome = infer(&body, Some(json.len()), b"", Column::Native, chunking);
            assert_eq!(outcome.got.status, status, "{end:?} {chunking:?}");
        }
    }
}

#[test]
fn an_empty_message_makes_a_binary_answer_of_the_promised_length() {
    let body = br#"{"inputs":[],"parameters":{"binary_data_output":true}}"#;
    for chunking in Chunking::ALL {
        let got = infer(body, None, b"", Column::Wasm, chunking).got;
        assert_eq!((got.status, got.reset, got.body.len()), (200, false, 4096), "{chunking:?}");
        assert_eq!(got.body.trim_ascii_end(), br#"{"model_name":"","outputs":[]}"#);
    }
}
