//! The real servers of the matrix, all with the models of `models/interop/functions.py`.

use e2e::{
    Envoy, Installed, KserveServer, Listener, MlServer, Options, Protocol, Request, Triton, gateway,
    kserve_python, models_python, repository, send, triton_python,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use testkit::Column;

/// A server, in the order of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    MlServer,
    Triton,
    Kserve,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::MlServer, Self::Triton, Self::Kserve];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MlServer => "MLServer",
            Self::Triton => "Triton",
            Self::Kserve => "the KServe SDK's server",
        }
    }

    /// The Python of its environment, or the variable that would name it.
    pub(crate) fn python(self) -> Result<PathBuf, &'static str> {
        match self {
            Self::MlServer => models_python().ok_or("MODELS_PYTHON"),
            Self::Triton => triton_python().ok_or("TRITON_PYTHON"),
            Self::Kserve => kserve_python().ok_or("KSERVE_PYTHON"),
        }
    }

    /// The key by which the filter knows its streams, if it has any.
    fn stream_messages(self) -> Option<&'static str> {
        match self {
            Self::MlServer => Some("mlserver"),
            Self::Triton => Some("triton"),
            Self::Kserve => None,
        }
    }
}

/// One that runs.
pub(crate) struct Server {
    running: Running,
    /// Its models, for as long as it runs.
    _models: TempDir,
}

enum Running {
    MlServer(MlServer),
    Triton(Triton),
    Kserve(KserveServer),
}

impl Server {
    pub(crate) fn start(kind: Kind, python: &Path) -> Self {
        let code = repository().join("test-harness/e2e/models/interop");
        let models = tempfile::tempdir().unwrap();
        let write_models = |format: &str| {
            let mut command = Command::new(python);
            command.arg(code.join("repository.py")).arg(format).arg(models.path());
            let output = e2e::output(command.env("PYTHONDONTWRITEBYTECODE", "1")).unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let running = match kind {
            Kind::MlServer => {
                write_models("mlserver");
                Running::MlServer(MlServer::start_in(python, models.path(), &code).unwrap())
            }
            Kind::Triton => {
                write_models("triton");
                Running::Triton(Triton::start_in(python, models.path(), &[]).unwrap())
            }
            Kind::Kserve => {
                Running::Kserve(KserveServer::start(python, &code.join("kserve_server.py")).unwrap())
            }
        };
        Self { running, _models: models }
    }

    pub(crate) fn grpc(&self) -> SocketAddr {
        match &self.running {
            Running::MlServer(server) => server.grpc(),
            Running::Triton(server) => server.grpc(),
            Running::Kserve(server) => server.grpc(),
        }
    }

    pub(crate) fn http(&self) -> SocketAddr {
        match &self.running {
            Running::MlServer(server) => server.http(),
            Running::Triton(server) => server.http(),
            Running::Kserve(server) => server.http(),
        }
    }

    pub(crate) fn log(&self) -> String {
        match &self.running {
            Running::MlServer(server) => server.log(),
            Running::Triton(server) => server.log(),
            Running::Kserve(server) => server.log(),
        }
    }
}

/// An Envoy with a listener for each host of the filter, which serves all protocols, in front of a server.
pub(crate) fn start_envoy(installed: &Installed, kind: Kind, server: &Server) -> Envoy {
    let listeners =
        Column::ALL.map(|column| Listener::new(column.name()).transcoder(column, &config(kind, column)));
    Envoy::start(&installed.path, &gateway(&listeners, server.grpc()), &Options::default()).unwrap()
}

fn config(kind: Kind, column: Column) -> String {
    let max_tokens =
        json!({ "parameter": "max_tokens", "name": "max_tokens", "datatype": "INT32", "default": 16 });
    let models = json!([
        { "id": "letters", "model": "letters", "embeddings": { "text": { "name": "text" }, "output": "vector" } },
        {
            "id": "writer", "model": "writer",
            "completions": {
                "text": { "name": "text_input" }, "output": "text_output", "finish_reason": "finish_reason",
                "prompt_tokens": "prompt_tokens", "completion_tokens": "completion_tokens",
                "parameters": [max_tokens],
            },
        },
    ]);
    let mut config = json!({ "kserve_v1": {}, "compress_answers": {}, "openai": { "models": models } });
    if let Some(messages) = kind.stream_messages() {
        config["stream_messages"] = messages.into();
    }
    if column == Column::WasmHold {
        config["hold_response_headers"] = true.into();
    }
    config.to_string()
}

/// The server's name for itself and its version, as it says through the filter.
pub(crate) fn version(envoy: &Envoy) -> String {
    let address = envoy.address(Column::Native.name()).unwrap();
    let answer = send(Protocol::Http1, address, &Request::get("/v2")).unwrap();
    let metadata: Value = answer.complete().unwrap().json().unwrap();
    metadata["version"].as_str().unwrap().to_owned()
}
