//! Real clients that know nothing of the filter, real model servers behind it.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

mod echo;
mod generate;
mod kserve_v1;
mod openai;
#[path = "../application/pictures.rs"]
mod pictures;
mod streams;
mod styles;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use e2e::application::application_models;
use e2e::{
    Installed, MlServer, Suite, VERSIONS, envoys, models_python, repository, start_shipped, triton_python,
};
use serde_json::{Value, json};

fn main() -> ExitCode {
    Suite::new()
        .model_server("tritons_client_understands_mlserver_itself", |_, python| {
            let server = MlServer::start(&python).unwrap();
            assert_understood(&client(&python, "triton_client.py", server.http(), &[]));
        })
        .model_server("tritons_client_understands_mlserver_through_the_wasm_filter", |envoy, python| {
            through(envoy, python, "kserve-transcoder.yaml");
        })
        .model_server("tritons_client_understands_mlserver_through_the_held_wasm_filter", |envoy, python| {
            through(envoy, python, "kserve-transcoder.hold.yaml");
        })
        .model_server("tritons_client_understands_mlserver_through_the_native_filter", |envoy, python| {
            through(envoy, python, "kserve-transcoder.native.yaml");
        })
        .model_server("tritons_client_gets_back_from_mlserver_what_it_sends", |envoy, python| {
            echo::mlserver(envoy, &python);
        })
        .model_server("tritons_client_gets_back_from_an_echo_what_it_sends", |envoy, python| {
            echo::odd_server(envoy, &python);
        })
        .triton("triton_itself_and_triton_behind_the_filter_answer_alike", |envoy, python, triton| {
            echo::triton(envoy, &python, &triton);
        })
        .model_server("mlservers_streams_are_those_of_its_own_port", |envoy, python| {
            streams::mlserver(envoy, &python);
        })
        .triton("tritons_streams_have_an_event_for_each_answer", |envoy, _, triton| {
            streams::triton(envoy, &triton);
        })
        .triton("tritons_generate_is_that_of_its_own_port", |envoy, _, triton| {
            generate::on_triton(envoy, &triton);
        })
        .given(
            "the_kserve_sdks_v1_client_understands_mlserver_in_every_column",
            kserve_v1::here(),
            |(envoy, models, sdk)| kserve_v1::sdks_client(&envoy, &models, &sdk),
        )
        .given(
            "triton_paints_for_the_ai_application_as_its_engine_does",
            for_styles(),
            |(envoy, python, triton, models)| styles::on_triton(&envoy, &python, &triton, &models),
        )
        .given(
            "openais_client_embeds_pictures_and_completes_texts",
            for_openai(),
            |(envoy, models, python)| {
                openai::on_mlserver(&envoy, &models, &python);
            },
        )
        .run()
}

/// The newest Envoy of the matrix, the Python environments of the model servers and of Triton, and the application's
/// models; or what of it is missing.
fn for_styles() -> Result<(Installed, PathBuf, PathBuf, PathBuf), &'static str> {
    let newest = envoys().into_iter().find(|envoy| envoy.version == VERSIONS[VERSIONS.len() - 1]);
    Ok((
        newest.ok_or("ENVOY_140")?,
        models_python().ok_or("MODELS_PYTHON")?,
        triton_python().ok_or("TRITON_PYTHON")?,
        application_models().ok_or("APPLICATION_MODELS")?,
    ))
}

/// The newest Envoy, and the Python environments of the model servers and of OpenAI's client, if the application's models are
/// here as well; or what of it is missing.
fn for_openai() -> Result<(Installed, PathBuf, PathBuf), &'static str> {
    let newest = envoys().into_iter().find(|envoy| envoy.version == VERSIONS[VERSIONS.len() - 1]);
    application_models().ok_or("APPLICATION_MODELS")?;
    Ok((
        newest.ok_or("ENVOY_140")?,
        models_python().ok_or("MODELS_PYTHON")?,
        openai::python().ok_or("OPENAI_PYTHON")?,
    ))
}

fn through(envoy: &Installed, python: PathBuf, bootstrap: &str) {
    let server = MlServer::start(&python).unwrap();
    let envoy = start_shipped(&envoy.path, bootstrap, &[server.grpc()]).unwrap();
    let address = *envoy.listeners().values().next().unwrap();
    assert_understood(&client(&python, "triton_client.py", address, &[]));
    // The five that were answered and the one of a wrong shape reached a model.
    assert_eq!(server.seen().len(), 6, "{}", server.log());
}

/// What a script of `python/` prints about the endpoint.
fn client(python: &Path, script: &str, endpoint: SocketAddr, arguments: &[&str]) -> Value {
    let script = repository().join("test-harness/e2e/python").join(script);
    let mut command = Command::new(python);
    let output = e2e::output(command.arg(script).arg(endpoint.to_string()).args(arguments)).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the client gave up: {complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The numbers are worked out by hand from the inputs in `triton_client.py` and from `weights.json`; every one of
/// them is exact in float32.
fn assert_understood(got: &Value) {
    for key in ["live", "ready", "affine_ready"] {
        assert_eq!(got[key], true, "{key}");
    }
    assert_eq!(got["nobody_ready"], false);
    assert_eq!(got["server"], "mlserver");
    assert_eq!(got["affine_inputs"], json!([{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]));

    let answered = |shape: &[u64], data: Value| json!({"id": "triton-1", "shape": shape, "data": data});
    let affine = json!([4.875, -0.5, 13.5625, 127.375, -503.625, 1002.03125]);
    assert_eq!(got["affine"], answered(&[2, 3], affine));
    assert_eq!(got["concat"], answered(&[2], json!(["grpc", "h\u{e9}llo \u{1f600}"])));
    assert_eq!(got["int64"], answered(&[3], json!([i64::MIN, 0, i64::MAX])));
    assert_eq!(got["bool"], answered(&[2, 1], json!([true, false])));
    let decimals = [0.1f32, 3e38, 1e-45].map(f64::from);
    assert_eq!(got["decimals"], answered(&[3], json!(decimals)));

    assert_eq!(got["unknown_model"]["status"], "404", "{got}");
    assert_eq!(got["wrong_shape"]["status"], "400", "{got}");
    let message = got["wrong_shape"]["message"].as_str().unwrap();
    assert!(message.contains("x has shape [2, 3]; expected [n, 4]"), "{message}");
}
