//! All filters and policies of this repository, in the native module that ships.

host_dynamic_module::module! {
    filters: [
        claim_headers::ClaimHeaders,
        kserve_transcoder::KserveTranscoder,
        dynamic_subset::DynamicSubset,
    ],
    policies: [runtime_group::RuntimeGroup],
}
