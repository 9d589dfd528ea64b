//! The paths on which a model answers an inference with a stream.

use super::form;
use super::load::pool;
use super::rule::Binding;
use super::{OURS, Row, Rows, Streaming};
use crate::tensor::StreamMessages;
use filter_api::ConfigError;
use kserve_proto::{MODEL_INFER, MODEL_STREAM_INFER};
use std::sync::Arc;

/// What follows a model in such a path, and the method behind it, in MLServer, whose two names for each are one.
const MLSERVER: &[(&str, &str)] = &[
    ("infer_stream", MODEL_STREAM_INFER),
    ("generate_stream", MODEL_STREAM_INFER),
    ("generate", MODEL_INFER),
];

/// Triton's own paths with these names have a body of another form, which only a model's metadata explain.
const TRITON: &[(&str, &str)] = &[("infer_stream", MODEL_STREAM_INFER)];

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
        for (name, rpc) in paths {
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
                if *rpc == MODEL_STREAM_INFER {
                    row.streaming = Streaming::Answers;
                }
                self.rows.push(Arc::new(row));
            }
        }
        Ok(())
    }
}
