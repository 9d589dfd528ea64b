//! The pages of the protocols: what they have for a shell to ask Envoy, in front of the models and with the bootstraps that they
//! name, and what they show of the answers. `interop` does the same for OpenAI's.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

use e2e::{Envoy, Installed, MlServer, Options, Suite, repository, shipped_on};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

const BOOTSTRAPS: [&str; 2] = ["kserve-transcoder.yaml", "kserve-transcoder.native.yaml"];

fn main() -> ExitCode {
    Suite::new()
        .model_server("the_page_on_kserve_v1_shows_what_comes", |envoy, python| kserve_v1(envoy, &python))
        .model_server("the_page_on_streams_shows_what_comes", |envoy, python| streams(envoy, &python))
        .model_server("the_page_on_compression_compresses", |envoy, python| compression(envoy, &python))
        .run()
}

fn kserve_v1(installed: &Installed, python: &Path) {
    let server = MlServer::start(python).unwrap();
    let page = page("kserve-v1.md");
    let [key, route] = ["json", "yaml"].map(|mark| blocks(&page).find(|block| block.0 == mark).unwrap().1);
    for bootstrap in BOOTSTRAPS {
        let envoy = start(&installed.path, bootstrap, &server, key, route);
        let mut compared = 0;
        for (_, text) in blocks(&page).filter(|(mark, text)| *mark == "sh" && text.contains("curl ")) {
            // Each command has its answer behind it, as a comment.
            for one in text.split("\n\n") {
                let (command, shown) = one.split_once("\n# ").unwrap();
                assert_eq!(told(command, &envoy), shown.trim_end(), "{bootstrap}: {command}");
                compared += 1;
            }
        }
        assert_eq!(compared, 5, "{bootstrap}");
    }
}

fn streams(envoy: &Installed, python: &Path) {
    let server = MlServer::start_with(python, "streams").unwrap();
    let page = page("streams.md");
    let key = r#"{ "stream_messages": "mlserver" }"#;
    assert!(page.contains(&format!("`{key}`")), "the page no longer says which key it needs");
    let envoy = start(&envoy.path, "kserve-transcoder.native.yaml", &server, key, "");
    let blocks: Vec<_> = blocks(&page).collect();
    let mut compared = 0;
    for pair in blocks.windows(2) {
        let [("sh", command), ("text", shown)] = pair else { continue };
        if command.contains("infer_stream") {
            assert_eq!(told(command, &envoy).trim_end(), shown.trim_end(), "{command}");
            compared += 1;
        }
    }
    assert_eq!(compared, 2);
}

fn compression(installed: &Installed, python: &Path) {
    let server = MlServer::start(python).unwrap();
    let page = page("compression.md");
    let of_short = r#"{"from_bytes": 50}"#;
    assert!(page.contains(&format!("`{of_short}`")), "the page no longer says how to try it");
    let key = format!(r#"{{"compress_answers": {of_short}}}"#);
    for bootstrap in BOOTSTRAPS {
        let envoy = start(&installed.path, bootstrap, &server, &key, "");
        let commands: Vec<_> =
            blocks(&page).filter(|(mark, text)| *mark == "sh" && text.contains("curl ")).collect();
        let [(_, request), (_, answer)] = commands[..] else { panic!("{commands:?}") };
        let told_of_request = told(request, &envoy);
        let json: serde_json::Value = serde_json::from_str(&told_of_request).unwrap();
        assert_eq!(
            json["outputs"][0]["data"],
            serde_json::json!([4.75, 0.0, 12.5625]),
            "{bootstrap}: {json}"
        );
        let told_of_answer = told(answer, &envoy);
        let (head, body) = told_of_answer.split_once("\r\n\r\n").unwrap();
        for line in ["content-encoding: gzip", "vary: accept-encoding"] {
            assert!(head.contains(line), "{bootstrap}: {head}");
        }
        assert_eq!(body, told_of_request, "{bootstrap}");
    }
}

fn page(name: &str) -> String {
    fs::read_to_string(repository().join("docs").join(name)).unwrap()
}

/// The blocks of a page, with what they are marked as.
fn blocks(page: &str) -> impl Iterator<Item = (&str, &str)> {
    let fenced = page.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n'))
}

/// A shipped bootstrap on free ports, with this configuration of the transcoder and one more route.
fn start(envoy: &Path, name: &str, server: &MlServer, config: &str, route: &str) -> Envoy {
    let text = shipped_on(name, &[(8080, 0), (8081, server.grpc().port())]).unwrap();
    let of_v2 = "- match: { path_separated_prefix: /v2 }";
    let indent = text.split_once(of_v2).unwrap().0.rsplit('\n').next().unwrap();
    let mut routes: String = route.lines().map(|line| format!("{line}\n{indent}")).collect();
    routes += of_v2;
    let before = r#"{ "max_request_bytes": 104857600 }"#;
    assert!(text.contains(before), "{name} has another configuration");
    let text = text.replacen(of_v2, &routes, 1).replacen(before, config.trim(), 1);
    Envoy::start(envoy, &text, &Options::default()).unwrap()
}

/// What a command of a page prints when Envoy is elsewhere.
fn told(command: &str, envoy: &Envoy) -> String {
    let address = envoy.address("inference").unwrap().to_string();
    let command = command.replace("127.0.0.1:8080", &address);
    let output = e2e::output(Command::new("sh").args(["-c", &command]).current_dir(repository())).unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
