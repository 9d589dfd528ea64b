//! The paths on which a model answers an inference with a stream, or may do so.

use super::form;
use super::load::pool;
use super::rule::Binding;
use super::{OURS, Row, RowKind, Rows, Streaming};
use crate::tensor::StreamMessages;
use filter_api::ConfigError;
use kserve_proto::{MODEL_INFER, MODEL_STREAM_INFER};
use std::sync::Arc;

/// What follows a model in such a path, the method behind it, the codec, and what the client gets.
type Paths = [(&'static str, &'static str, RowKind, Streaming); 3];

/// MLServer has two names for each.
const MLSERVER: Paths = [
    ("infer_stream", MODEL_STREAM_INFER, RowKind::Infer, Streaming::Answers),
    ("generate_stream", MODEL_STREAM_INFER, RowKind::Infer, Streaming::Answers),
    ("generate", MODEL_INFER, RowKind::Infer, Streaming::Neither),
];

/// Triton's own paths with these names have a body of another form (its "generate extension"). By `ModelInfer` it serves no
/// model that may answer with a stream, as most of those are that have a use for this form.
const TRITON: Paths = [
    ("infer_stream", MODEL_STREAM_INFER, RowKind::Infer, Streaming::Answers),
    ("generate_stream", MODEL_STREAM_INFER, RowKind::Generate, Streaming::Answers),
    ("generate", MODEL_STREAM_INFER, RowKind::Generate, Streaming::Neither),
];

impl Rows {
    /// Adds the paths on which a model answers with a stream. `ModelStreamInfer` takes any number of requests; here it
    /// gets one.
    pub(super) fn add_model_streams(&mut self, messages: StreamMessages) -> Result<(), ConfigError> {
        let error = |reason: String| ConfigError::at("stream_messages", reason);
        let pool = pool(kserve_proto::DESCRIPTOR_SET).map_err(error)?;
        let service = pool.get_service_by_name(kserve_proto::SERVICE);
        let infer =
            service.and_then(|service| service.methods().find(|method| method.name() == "ModelInfer"));
        // Its requests are those of ModelInfer, and so are its answers, in a wrapping or without one.
        let infer = infer.ok_or_else(|| error("there is no ModelInfer".into()))?;
        let options = form::Options::of(&pool);
        let paths = match messages {
            StreamMessages::Mlserver => MLSERVER,
            StreamMessages::Triton => TRITON,
        };
        for (name, rpc, kind, streaming) in paths {
            for version in ["", "/versions/{model_version}"] {
                let root = String::from_utf8_lossy(OURS);
                let binding = Binding {
                    method: "POST".into(),
                    template: format!("{root}/models/{{model_name}}{version}/{name}"),
                    body: "*".into(),
                    response_body: String::new(),
                };
                let row = Row::new(&infer, rpc, binding, &options);
                let mut row = row.map_err(|(template, why)| error(format!("{template}: {why}")))?;
                (row.kind, row.streaming) = (kind, streaming);
                self.rows.push(Arc::new(row));
            }
        }
        Ok(())
    }
}
