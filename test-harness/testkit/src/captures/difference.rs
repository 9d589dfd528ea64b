//! What differs from Triton's HTTP port on purpose.

/// A difference, and in its description the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The client itself refuses to send this: there is nothing to replay.
    NothingSent,
    /// Triton's HTTP port takes and gives FP16 and BF16 as binary only, and answers 400. Its gRPC port gets them as
    /// bytes, whatever they were in the request: the filter reads and writes them as numbers.
    HalfInJson,
    /// Triton compresses the answer. The filter does not: that is Envoy's compressor's work.
    NotCompressed,
    /// Triton writes bytes that are no UTF-8 into a JSON string, which the client cannot read. The filter writes base64
    /// and says so in the parameter `content_type`.
    NotUtf8,
    /// Triton leaves out `inference-header-content-length` where the binary part is empty. The filter sends it; the
    /// client reads both alike.
    EmptyTail,
    /// Triton's answer is its status alone. The filter also sends the flag as JSON, which other clients read.
    FlagInBody,
    /// As above; and a model that is not ready, or not there, is a 503 where Triton's status is 400. The client reads
    /// both as "not ready".
    NotReady,
}

impl Difference {
    /// The difference of a capture.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "infer_BF16_jsonin_binout" | "infer_BF16_jsonin_jsonout" => Some(Self::NothingSent),
            "infer_FP16_jsonin_jsonout"
            | "infer_FP16_jsonin_binout"
            | "infer_FP16_binin_jsonout"
            | "infer_BF16_binin_jsonout" => Some(Self::HalfInJson),
            "infer_gzip_response" | "infer_deflate_response" => Some(Self::NotCompressed),
            "infer_BYTES_binin_jsonout" => Some(Self::NotUtf8),
            "infer_empty_tensor" => Some(Self::EmptyTail),
            "is_server_live" | "is_server_ready" | "is_model_ready" | "is_model_ready_version" => {
                Some(Self::FlagInBody)
            }
            "is_model_ready_unknown" => Some(Self::NotReady),
            _ => None,
        }
    }
}
