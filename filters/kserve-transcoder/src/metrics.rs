//! What the filter counts.

filter_api::metrics! {
    /// The metrics of `kserve_transcoder`.
    pub const ALL;
    /// requests that went to a model server
    TRANSCODED: Counter "transcoded";
    /// requests that the filter answered with an error itself, and that went to no model server
    REFUSED: Counter "refused";
    /// answers of a model server that were errors, or were not valid
    FAILED_ANSWERS: Counter "failed_answers";
    /// errors that could only be told in the body, under a status of 200 that had gone out before
    ERRORS_UNDER_200: Counter "errors_under_200";
    /// answers that could only be cut off, because their status had gone out before the error came
    RESETS: Counter "resets";
    /// inferences that went to a model server, by how they ended: `grpc_status` is the number of the gRPC status, or
    /// `unfinished` where the client left, or a time-out or a reset came before the end of the answer
    MODEL_REQUESTS: Counter "model_requests" by ["model", "version", "grpc_status"];
    /// bytes of the gRPC messages to model servers
    MODEL_REQUEST_BYTES: Counter "model_request_bytes" by ["model", "version"];
    /// bytes of the gRPC messages from model servers
    MODEL_ANSWER_BYTES: Counter "model_answer_bytes" by ["model", "version"];
    /// elements of the tensors that inferences had as inputs
    MODEL_ELEMENTS: Counter "model_elements" by ["model", "version"];
    /// inferences whose answer began at most `le` milliseconds after the request did: the buckets of a histogram, as
    /// Prometheus has them
    MODEL_FIRST_BYTE_BUCKET: Counter "model_first_byte_ms_bucket" by ["model", "version", "le"];
    /// their milliseconds added up
    MODEL_FIRST_BYTE_SUM: Counter "model_first_byte_ms_sum" by ["model", "version"];
    /// their number
    MODEL_FIRST_BYTE_COUNT: Counter "model_first_byte_ms_count" by ["model", "version"];
    /// inferences whose answer ended at most `le` milliseconds after the request began, in the same way
    MODEL_LAST_BYTE_BUCKET: Counter "model_last_byte_ms_bucket" by ["model", "version", "le"];
    /// their milliseconds added up
    MODEL_LAST_BYTE_SUM: Counter "model_last_byte_ms_sum" by ["model", "version"];
    /// their number
    MODEL_LAST_BYTE_COUNT: Counter "model_last_byte_ms_count" by ["model", "version"];
}
