//! The paths of KServe v1.

use super::load::pool;
use super::{Row, RowKind, Rows, form, rule};
use filter_api::ConfigError;
use std::sync::Arc;

/// The root of them.
const V1: &[u8] = b"/v1";

/// Of the paths below that, those of models are this filter's.
const MODELS: &[u8] = b"/v1/models";

/// What names the key in an error.
const KEY: &str = "kserve_v1";

/// HTTP method, template, gRPC method.
const PATHS: [(&str, &str, &str); 4] = [
    ("POST", "/v1/models/{model_name}:predict", "ModelInfer"),
    // TensorFlow Serving's.
    ("POST", "/v1/models/{model_name}/versions/{model_version}:predict", "ModelInfer"),
    ("GET", "/v1/models/{name}", "ModelReady"),
    ("GET", "/v1/models/{name}/versions/{version}", "ModelReady"),
];

/// Whether a path is one of KServe v1's or would be.
pub(super) fn has(path: &[u8]) -> bool {
    matches!(path.strip_prefix(MODELS), Some([] | [b'/', ..]))
}

impl Rows {
    /// Adds the rows of KServe v1.
    pub(super) fn add_v1(&mut self) -> Result<(), ConfigError> {
        let error = |reason: String| ConfigError::at(KEY, reason);
        self.add_list_of_models(V1, KEY)?;
        let pool = pool(kserve_proto::DESCRIPTOR_SET).map_err(error)?;
        let options = form::Options::of(&pool);
        let service = pool.get_service_by_name(kserve_proto::SERVICE);
        for (http, template, name) in PATHS {
            let method =
                service.as_ref().and_then(|service| service.methods().find(|method| method.name() == name));
            let method = method.ok_or_else(|| error(format!("there is no {name}")))?;
            let predicts = http == "POST";
            let binding = rule::Binding {
                method: http.into(),
                template: template.into(),
                body: if predicts { "*".into() } else { String::new() },
                response_body: String::new(),
            };
            let rpc = format!("/{}/{name}", kserve_proto::SERVICE);
            let row = Row::new(&method, &rpc, binding, &options);
            let mut row = row.map_err(|(template, why)| error(format!("{template}: {why}")))?;
            if predicts {
                row.kind = RowKind::Predict;
            }
            self.rows.push(Arc::new(row));
        }
        Ok(())
    }
}
