//! What the filter counts.

filter_api::metrics! {
    /// The metrics of `dynamic_subset`.
    pub const ALL;
    /// requests for which a pair was set
    MATCHED: Counter "matched";
    /// requests for which none was
    UNMATCHED: Counter "unmatched";
    /// clients' headers that looked like the filter's own, and were removed
    REMOVED_HEADERS: Counter "removed_headers";
    /// keys, values and models' names that could not be used: too long, of other characters, differing copies, or in a
    /// path that a server may read otherwise
    BAD_VALUES: Counter "bad_values";
    /// gRPC messages in which the model's name was not found
    BAD_BODIES: Counter "bad_bodies";
    /// requests that were refused, because their message named a second model behind `max_held_bytes`
    CONTRADICTIONS: Counter "contradictions";
    /// requests that were refused, because there was no memory to look for their model's name
    OUT_OF_MEMORY: Counter "out_of_memory";
}
