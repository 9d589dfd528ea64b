//! The command, with a filter as text and cases in files.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;
use std::process::Command;

/// It calls `auth` about every request, continues when there are three headers or more in the answer, else denies; and
/// replaces bodies by "hi".
const FILTER: &str = r#"(module
  (import "env" "proxy_set_buffer_bytes" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $stream (mut i32) (i32.const 0))
  (data (i32.const 64) "hiauthx-user")
  (data (i32.const 128) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\06\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/check\00:authority\00a\00")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 4096))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (global.set $stream (local.get 0))
    (i32.eqz (call $call (i32.const 66) (i32.const 4) (i32.const 128) (i32.const 72) (i32.const 0) (i32.const 0)
                         (i32.const 0) (i32.const 0) (i32.const 500) (i32.const 16))))
  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
    (drop (call $effective (global.get $stream)))
    (if (i32.ge_u (local.get 2) (i32.const 2))
      (then (drop (call $add (i32.const 0) (i32.const 70) (i32.const 6) (i32.const 66) (i32.const 4)))
            (drop (call $continue (i32.const 0))))
      (else (drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                               (i32.const 0) (i32.const 0) (i32.const -1))))))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
    (drop (call $set (i32.const 1) (i32.const 0) (local.get 1) (i32.const 64)
                     (i32.mul (local.get 2) (i32.const 2))))
    (i32.const 0)))"#;

const ALLOWED: &str = r#"
story = "who is known gets through"
request = { method = "GET", path = "/a" }
calls = [{ cluster = "auth", path = "/check", headers = [["x-known", "yes"]] }]
upstream = { path = "/a", headers = [["x-user", "auth"]] }
answer = { headers = [], body = "a long answer", trailers = [] }
expect = { status = 200, body = "hi" }
"#;

const DENIED: &str = r#"
story = "who is not known is denied"
request = { method = "GET", path = "/a" }
calls = [{ cluster = "auth", http_status = 401 }]
expect = { status = 403 }
"#;

/// Writes files into a folder of the test's own, and runs the command there.
fn run(name: &str, cases: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("emulator-command").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("cases")).unwrap();
    std::fs::write(folder.join("filter.wat"), FILTER).unwrap();
    for (name, text) in cases {
        std::fs::write(folder.join("cases").join(format!("{name}.toml")), text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxy-wasm-emulator"));
    let output = command.current_dir(&folder).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

const RUN: [&str; 4] = ["run", "filter.wat", "--cases", "cases"];

#[test]
fn cases_that_hold_pass() {
    let (code, told) = run("pass", &[("allowed", ALLOWED), ("denied", DENIED)], &RUN);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("ok        allowed") && told.contains("2 passed, 0 failed"), "{told}");
}

#[test]
fn a_case_that_does_not_hold_is_told_with_its_story_and_what_was_found() {
    let wrong = ALLOWED.replace("x-user", "x-other");
    let (code, told) = run("fail", &[("allowed", &wrong), ("denied", DENIED)], &RUN);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("FAILED    allowed: who is known gets through"), "{told}");
    assert!(told.contains(r#"header x-other must be "auth" once, not []"#), "{told}");
}

#[test]
fn a_call_without_an_answer_is_told_with_its_cluster() {
    let silent = DENIED.replace("calls =", "properties = [] #");
    let (code, told) = run("silent", &[("denied", &silent)], &RUN);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(r#"there is no cluster "auth""#), "{told}");
    let (_, told) = run("cluster", &[("denied", &silent)], &[&RUN[..], &["--cluster", "auth"]].concat());
    assert!(told.contains(r#"called /check of cluster "auth", for which [[calls]] has no answer"#), "{told}");
}

#[test]
fn what_cannot_be_understood_is_told_with_the_file_and_the_usage() {
    let (code, told) = run("broken", &[("broken", "story = 1")], &RUN);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("cases/broken.toml"), "{told}");
    let (code, told) = run("usage", &[], &["run", "filter.wat"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("--cases DIR is missing") && told.contains("usage:"), "{told}");
}
