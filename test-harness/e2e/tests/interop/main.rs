//! Real clients that know nothing of the filter, real model servers behind it.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

mod echo;
mod generate;
mod matrix;
mod openai;
#[path = "../application/pictures.rs"]
mod pictures;
mod streams;
mod styles;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use e2e::application::application_models;
use e2e::{Installed, Suite, VERSIONS, envoys, models_python, repository, triton_python};
use matrix::Kind;
use serde_json::Value;

fn main() -> ExitCode {
    let ended = suite().run();
    matrix::print();
    ended
}

fn suite() -> Suite {
    Suite::new()
        .given("every_client_understands_mlserver_through_every_host", for_matrix(Kind::MlServer), matrix_of)
        .given("every_client_understands_triton_through_every_host", for_matrix(Kind::Triton), matrix_of)
        .given(
            "every_client_understands_the_kserve_sdks_server_through_every_host",
            for_matrix(Kind::Kserve),
            matrix_of,
        )
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
}

/// The newest Envoy of the matrix and the Python environment of a server; or what of it is missing.
fn for_matrix(kind: Kind) -> Result<(Kind, Installed, PathBuf), &'static str> {
    Ok((kind, newest_envoy()?, kind.python()?))
}

fn matrix_of((kind, envoy, python): (Kind, Installed, PathBuf)) {
    matrix::of(kind, &envoy, &python);
}

fn newest_envoy() -> Result<Installed, &'static str> {
    envoys().into_iter().find(|envoy| envoy.version == VERSIONS[VERSIONS.len() - 1]).ok_or("ENVOY_140")
}

/// The newest Envoy of the matrix, the Python environments of the model servers and of Triton, and the application's
/// models; or what of it is missing.
fn for_styles() -> Result<(Installed, PathBuf, PathBuf, PathBuf), &'static str> {
    Ok((
        newest_envoy()?,
        models_python().ok_or("MODELS_PYTHON")?,
        triton_python().ok_or("TRITON_PYTHON")?,
        application_models().ok_or("APPLICATION_MODELS")?,
    ))
}

/// The newest Envoy, and the Python environments of the model servers and of OpenAI's client, if the application's models are
/// here as well; or what of it is missing.
fn for_openai() -> Result<(Installed, PathBuf, PathBuf), &'static str> {
    application_models().ok_or("APPLICATION_MODELS")?;
    Ok((newest_envoy()?, models_python().ok_or("MODELS_PYTHON")?, openai::python().ok_or("OPENAI_PYTHON")?))
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
