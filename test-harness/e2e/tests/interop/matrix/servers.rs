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

    /// By what name the filter knows its streams, if it has any.
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

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    /// Every protocol.
    All,
    /// OpenAI's completions in pieces: in default wasm they cannot be beside those in one.
    Pieces,
}

impl Serves {
    /// The name of the listener for a host.
    pub(crate) fn listener(self, column: Column) -> String {
        match self {
            Self::All => column.name().to_owned(),
            Self::Pieces => format!("{}-pieces", column.name()),
        }
    }
}

/// An Envoy with listeners for each host of the filter, in front of a server.
pub(crate) fn start_envoy(installed: &Installed, kind: Kind, server: &Server) -> Envoy {
    let listener = |serves: Serves, column, config: Value| {
        Listener::new(&serves.listener(column)).transcoder(column, &held(column, config))
    };
    let listeners: Vec<Listener> = Column::ALL
        .into_iter()
        .flat_map(|column| {
            [listener(Serves::All, column, all(kind)), listener(Serves::Pieces, column, pieces(kind))]
        })
        .collect();
    Envoy::start(&installed.path, &gateway(&listeners, server.grpc()), &Options::default()).unwrap()
}

fn held(column: Column, mut config: Value) -> String {
    if column == Column::WasmHold {
        config["hold_response_headers"] = true.into();
    }
    config.to_string()
}

fn max_tokens() -> Value {
    json!({ "parameter": "max_tokens", "name": "max_tokens", "datatype": "INT32", "default": 16 })
}

fn pieces(kind: Kind) -> Value {
    let completions = json!({
        "text": { "name": "text_input" }, "output": "text_output", "finish_reason": "finish_reason",
        "stream": "required", "parameters": [max_tokens()],
    });
    let models = json!([{ "id": "speaker", "model": "speaker", "completions": completions }]);
    // A server without streams says so, whichever messages are expected of it.
    json!({ "openai": { "models": models }, "stream_messages": kind.stream_messages().unwrap_or("triton") })
}

fn all(kind: Kind) -> Value {
    let models = json!([
        { "id": "letters", "model": "letters", "embeddings": { "text": { "name": "text" }, "output": "vector" } },
        {
            "id": "writer", "model": "writer",
            "completions": {
                "text": { "name": "text_input" }, "output": "text_output", "finish_reason": "finish_reason",
                "prompt_tokens": "prompt_tokens", "completion_tokens": "completion_tokens",
                "parameters": [max_tokens()],
            },
        },
    ]);
    let mut config = json!({ "kserve_v1": {}, "compress_answers": {}, "openai": { "models": models } });
    if let Some(messages) = kind.stream_messages() {
        config["stream_messages"] = messages.into();
    }
    config
}

/// The server's name for itself and its version, as it says through the filter.
pub(crate) fn version(envoy: &Envoy) -> String {
    let address = envoy.address(Column::Native.name()).unwrap();
    let answer = send(Protocol::Http1, address, &Request::get("/v2")).unwrap();
    let metadata: Value = answer.complete().unwrap().json().unwrap();
    metadata["version"].as_str().unwrap().to_owned()
}
