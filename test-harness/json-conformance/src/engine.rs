//! A transcoder with a service whose calls take and return the runner's messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kserve_transcoder::KserveTranscoder;
use protox::file::{
    ChainFileResolver, DescriptorSetFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};
use serde_json::json;
use std::error::Error;
use std::path::Path;
use testkit::{Answer, Body, Case, Chunking, Column, Core, Got, Outcome, unframe};

/// The paths of the calls, by the message that each takes and returns.
const PATHS: [(&str, &str); 2] = [
    ("protobuf_test_messages.proto3.TestAllTypesProto3", "/proto3"),
    ("protobuf_test_messages.proto2.TestAllTypesProto2", "/proto2"),
];

const SERVICE: &str = r#"
syntax = "proto3";
package testee;
import "google/api/annotations.proto";
import "google/protobuf/test_messages_proto2.proto";
import "google/protobuf/test_messages_proto3.proto";
service Echo {
  rpc Proto3(protobuf_test_messages.proto3.TestAllTypesProto3) returns (protobuf_test_messages.proto3.TestAllTypesProto3) {
    option (google.api.http) = { post: "/proto3" body: "*" };
  }
  rpc Proto2(protobuf_test_messages.proto2.TestAllTypesProto2) returns (protobuf_test_messages.proto2.TestAllTypesProto2) {
    option (google.api.http) = { post: "/proto2" body: "*" };
  }
}
"#;

/// Why a message is refused.
pub(crate) struct Refusal(pub(crate) String);

/// The transcoder, and an exchange to vary.
pub(crate) struct Engine {
    core: Core<KserveTranscoder>,
    /// The same, but it leaves out unknown fields.
    lenient: Core<KserveTranscoder>,
    exchange: Case,
}

impl Engine {
    /// # Errors
    /// The messages cannot be compiled, or the transcoder refuses the service.
    pub(crate) fn new(messages: &Path) -> Result<Self, Box<dyn Error>> {
        let mut files = ChainFileResolver::new();
        files.add(Source);
        files.add(IncludeFileResolver::new(messages.to_owned()));
        files.add(GoogleFileResolver::new());
        files.add(DescriptorSetFileResolver::decode(kserve_proto::DESCRIPTOR_SET)?);
        let mut compiler = protox::Compiler::with_file_resolver(files);
        compiler.include_imports(true).open_file("testee.proto")?;
        let set = STANDARD.encode(compiler.encode_file_descriptor_set());
        let core = |ignore_unknown_fields: bool| {
            let config = json!({
                "descriptor_sets": [set],
                "services": ["testee.Echo"],
                "answer_form": "proto",
                "print_options": {},
                "ignore_unknown_fields": ignore_unknown_fields,
            });
            Core::configure(&config.to_string(), Column::Native)
        };
        let exchange = Case::parse(
            "conformance",
            "story = \"\"\n[request]\nmethod = \"POST\"\npath = \"\"\nbody = \"\"\n[answer]\n[expect]\n",
        )?;
        Ok(Self { core: core(false)?, lenient: core(true)?, exchange })
    }

    pub(crate) fn knows(&self, message_type: &str) -> bool {
        PATHS.iter().any(|(known, _)| *known == message_type)
    }

    /// Reads a message from JSON: what the server sees of a request.
    pub(crate) fn read(&self, message_type: &str, lenient: bool, json: &[u8]) -> Result<Vec<u8>, Refusal> {
        let core = if lenient { &self.lenient } else { &self.core };
        let outcome = self.send(core, message_type, json, &[])?;
        let seen = outcome.seen.ok_or_else(|| refused(&outcome.got))?;
        unframe(&seen.body).map(<[u8]>::to_vec).ok_or_else(|| Refusal("the server saw no message".to_owned()))
    }

    /// Prints a message as JSON: what a client gets when a server answers with it.
    pub(crate) fn print(&self, message_type: &str, message: &[u8]) -> Result<String, Refusal> {
        let outcome = self.send(&self.core, message_type, b"{}", message)?;
        match outcome.got.status {
            200 => String::from_utf8(outcome.got.body).map_err(|error| Refusal(error.to_string())),
            _ => Err(refused(&outcome.got)),
        }
    }

    fn send(
        &self,
        core: &Core<KserveTranscoder>,
        message_type: &str,
        json: &[u8],
        answer: &[u8],
    ) -> Result<Outcome, Refusal> {
        let mut exchange = self.exchange.clone();
        let path = PATHS.iter().find(|(known, _)| *known == message_type);
        exchange.request.path = path.map_or("", |(_, path)| path).to_owned();
        exchange.request.body = Body { bytes: json.to_vec(), ..Body::default() };
        if let Some(said) = &mut exchange.answer {
            *said =
                Answer { body: Body { bytes: testkit::frame(answer), ..Body::default() }, ..said.clone() };
        }
        core.run(&exchange, Chunking::Whole).map_err(Refusal)
    }
}

fn refused(got: &Got) -> Refusal {
    Refusal(format!("{}: {}", got.status, String::from_utf8_lossy(&got.body)))
}

struct Source;

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "testee.proto" => File::from_source(name, SERVICE),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}
