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
}
