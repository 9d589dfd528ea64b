//! What the filter counts.

use crate::token::Refusal;
use filter_api::{Metric, MetricKind};

pub(crate) const MAPPED: usize = 0;
pub(crate) const MISSING_CLAIM: usize = 1;
pub(crate) const BAD_VALUE: usize = 2;
pub(crate) const SPOOF_REMOVED: usize = 3;
pub(crate) const VERIFIED: usize = 4;
pub(crate) const CACHE_HITS: usize = 5;
pub(crate) const JWKS_AGE: usize = 6;
pub(crate) const UNJUDGED: usize = 7;
pub(crate) const PAYLOAD_HEADER_IGNORED: usize = 8;
const REFUSALS: usize = 9;

/// All metrics; refusals come last, in the order of [`refusal`].
pub(crate) const ALL: &[Metric] = &[
    counter("mapped"),
    counter("missing_claim"),
    counter("bad_value"),
    counter("spoof_removed"),
    counter("verified"),
    counter("cache_hits"),
    Metric { name: "jwks_age", kind: MetricKind::Gauge },
    counter("unjudged"),
    counter("payload_header_ignored"),
    counter("unverified_no_token"),
    counter("unverified_ambiguous"),
    counter("unverified_too_large"),
    counter("unverified_malformed"),
    counter("unverified_header"),
    counter("unverified_algorithm"),
    counter("unverified_issuer"),
    counter("unverified_audience"),
    counter("unverified_times"),
    counter("unverified_expired"),
    counter("unverified_not_yet_valid"),
    counter("unverified_no_keys"),
    counter("kid_unknown"),
    counter("unverified_busy"),
    counter("unverified_signature"),
    counter("unverified_required"),
    counter("unverified_no_payload"),
];

const fn counter(name: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter }
}

/// The counter of requests that were not verified for this reason.
pub(crate) fn refusal(why: Refusal) -> usize {
    REFUSALS
        + match why {
            Refusal::Missing => 0,
            Refusal::Ambiguous => 1,
            Refusal::TooLarge => 2,
            Refusal::Malformed => 3,
            Refusal::Header => 4,
            Refusal::Algorithm => 5,
            Refusal::Issuer => 6,
            Refusal::Audience => 7,
            Refusal::Times => 8,
            Refusal::Expired => 9,
            Refusal::NotYetValid => 10,
            Refusal::NoKeys => 11,
            Refusal::UnknownKey => 12,
            Refusal::Busy => 13,
            Refusal::Signature => 14,
            Refusal::Required => 15,
            Refusal::NoPayload => 16,
        }
}
