//! What the filter counts.

use crate::token::Refusal;

filter_api::metrics! {
    /// The metrics of `claim_headers`.
    pub(crate) const ALL;
    /// headers that were set from a claim
    MAPPED: Counter "mapped";
    /// claims that a verified token did not have
    MISSING_CLAIM: Counter "missing_claim";
    /// claims that a rule did not pass on
    BAD_VALUE: Counter "bad_value";
    /// headers of clients that were removed
    SPOOF_REMOVED: Counter "spoof_removed";
    /// requests with verified claims
    VERIFIED: Counter "verified";
    /// requests whose token was remembered
    CACHE_HITS: Counter "cache_hits";
    /// the age of the oldest keys that were fetched, in seconds. It moves without traffic; natively on Envoy 1.38 only
    /// with it
    JWKS_AGE: Gauge "jwks_age";
    /// requests whose token could not be judged: answered 503, or passed with `on_unverified: pass`. Beside the counter
    /// of the reason
    UNJUDGED: Counter "unjudged";
    /// requests whose payload header was ignored, because no guard is in front of `jwt_authn`
    PAYLOAD_HEADER_IGNORED: Counter "payload_header_ignored";
    /// requests without a token
    UNVERIFIED_NO_TOKEN: Counter "unverified_no_token";
    /// requests with two different tokens
    UNVERIFIED_AMBIGUOUS: Counter "unverified_ambiguous";
    /// requests whose token is longer than `max_token_bytes`
    UNVERIFIED_TOO_LARGE: Counter "unverified_too_large";
    /// requests whose token is not a signed JSON Web Token, or has no claims that can be read
    UNVERIFIED_MALFORMED: Counter "unverified_malformed";
    /// requests whose token has a header that is not accepted, such as a `typ` that is not in `token_types`
    UNVERIFIED_HEADER: Counter "unverified_header";
    /// requests whose token is signed by an algorithm that its issuer may not use
    UNVERIFIED_ALGORITHM: Counter "unverified_algorithm";
    /// requests whose token is from another issuer
    UNVERIFIED_ISSUER: Counter "unverified_issuer";
    /// requests whose token is for others
    UNVERIFIED_AUDIENCE: Counter "unverified_audience";
    /// requests whose token has times that cannot be read, or was issued too long ago
    UNVERIFIED_TIMES: Counter "unverified_times";
    /// requests whose token has expired
    UNVERIFIED_EXPIRED: Counter "unverified_expired";
    /// requests whose token is not valid yet
    UNVERIFIED_NOT_YET_VALID: Counter "unverified_not_yet_valid";
    /// requests whose issuer's keys could not be fetched
    UNVERIFIED_NO_KEYS: Counter "unverified_no_keys";
    /// tokens that named no key of their issuer
    KID_UNKNOWN: Counter "kid_unknown";
    /// requests whose token was not checked, because more than `max_checks_per_second` were forged
    UNVERIFIED_BUSY: Counter "unverified_busy";
    /// requests whose token has a wrong signature
    UNVERIFIED_SIGNATURE: Counter "unverified_signature";
    /// requests whose token lacks what `require` asks for
    UNVERIFIED_REQUIRED: Counter "unverified_required";
    /// requests to which the filter in front attached no verified claims
    UNVERIFIED_NO_PAYLOAD: Counter "unverified_no_payload";
}

/// The counter of requests that were not verified for this reason.
pub(crate) fn refusal(why: Refusal) -> usize {
    match why {
        Refusal::Missing => UNVERIFIED_NO_TOKEN,
        Refusal::Ambiguous => UNVERIFIED_AMBIGUOUS,
        Refusal::TooLarge => UNVERIFIED_TOO_LARGE,
        Refusal::Malformed => UNVERIFIED_MALFORMED,
        Refusal::Header => UNVERIFIED_HEADER,
        Refusal::Algorithm => UNVERIFIED_ALGORITHM,
        Refusal::Issuer => UNVERIFIED_ISSUER,
        Refusal::Audience => UNVERIFIED_AUDIENCE,
        Refusal::Times => UNVERIFIED_TIMES,
        Refusal::Expired => UNVERIFIED_EXPIRED,
        Refusal::NotYetValid => UNVERIFIED_NOT_YET_VALID,
        Refusal::NoKeys => UNVERIFIED_NO_KEYS,
        Refusal::UnknownKey => KID_UNKNOWN,
        Refusal::Busy => UNVERIFIED_BUSY,
        Refusal::Signature => UNVERIFIED_SIGNATURE,
        Refusal::Required => UNVERIFIED_REQUIRED,
        Refusal::NoPayload => UNVERIFIED_NO_PAYLOAD,
    }
}
