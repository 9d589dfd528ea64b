//! The KServe SDK's client for v1, which knows nothing of v2, and MLServer, which knows nothing of v1.

use super::client;
use e2e::{Envoy, Installed, Listener, MlServer, Options, VERSIONS, envoys, gateway, models_python};
use serde_json::json;
use std::path::{Path, PathBuf};
use testkit::Column;

/// The newest Envoy of the matrix, the Python of the model servers and the one that has the KServe SDK; or what of it is
/// missing.
pub(crate) fn here() -> Result<(Installed, PathBuf, PathBuf), &'static str> {
    let newest = envoys().into_iter().find(|envoy| envoy.version == VERSIONS[VERSIONS.len() - 1]);
    let sdk = std::env::var_os("KSERVE_PYTHON").filter(|value| !value.is_empty()).map(PathBuf::from);
    Ok((newest.ok_or("ENVOY_140")?, models_python().ok_or("MODELS_PYTHON")?, sdk.ok_or("KSERVE_PYTHON")?))
}

/// The numbers are worked out by hand, as for Triton's client.
pub(crate) fn sdks_client(installed: &Installed, models: &Path, sdk: &Path) {
    let server = MlServer::start(models).unwrap();
    let listeners = Column::ALL.map(|column| {
        let config = match column {
            Column::WasmHold => r#"{"kserve_v1": {}, "hold_response_headers": true}"#,
            Column::Wasm | Column::Native => r#"{"kserve_v1": {}}"#,
        };
        Listener::new(column.name()).transcoder(column, config)
    });
    let envoy = Envoy::start(&installed.path, &gateway(&listeners, server.grpc()), &Options::default());
    let envoy = envoy.unwrap();
    let affine = json!([[4.875, -0.5, 13.5625], [127.375, -503.625, 1002.03125]]);
    for column in Column::ALL {
        let got = client(sdk, "kserve_v1_client.py", envoy.address(column.name()).unwrap(), &[]);
        assert_eq!(got["affine_ready"], true, "{}", column.name());
        assert_eq!(got["rows"], json!({"predictions": affine}), "{}", column.name());
        assert_eq!(got["by_name"], got["rows"], "{}", column.name());
        assert_eq!(got["columns"], json!({"outputs": affine}), "{}", column.name());
        assert_eq!(got["words"], json!({"predictions": ["grpc", "h\u{e9}llo \u{1f600}"]}));
        assert_eq!(got["unknown_model"]["status"], 404, "{}", column.name());
        let told = "instances[0]: expected 4 items, found 3 (the model's input x has the shape [-1, 4])";
        assert_eq!(got["wrong_shape"], json!({"status": 400, "error": told}), "{}", column.name());
    }
}
