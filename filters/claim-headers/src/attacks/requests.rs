//! Attacks by what a request says besides its token.

use super::mint::{ES256, Mint, RS256, good, payload, premium};
use super::{Attempt, attacks};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn basic() -> String {
    Mint::rs256(RS256, payload(r#","user_type":"basic""#))
}

attacks! {
    what_a_client_says_of_itself_is_removed_in_every_spelling {
        let spellings = |attempt: Attempt| {
            attempt.header("user_class", "premium").header("user_class", "basic").header("user-class", "premium,premium")
        };
        vec![
            spellings(Attempt::without_token("no token")),
            spellings(Attempt::with("a basic user's token", basic())).accepted("basic"),
            spellings(Attempt::with("a premium user's token", good())).accepted("premium"),
            spellings(Attempt::with("a bad token", "x.y.z")).refused("unverified_malformed"),
            Attempt::without_token("a preflight").header(":method", "OPTIONS").header("origin", "https://app.test").header("access-control-request-method", "POST"),
            Attempt::without_token("an open path").path("/healthz?user_class=premium"),
        ]
    }

    two_tokens_are_as_good_as_none {
        let two = |one: &str, other: &str| {
            Attempt::with("two authorization headers", one).header("authorization", format!("Bearer {other}"))
        };
        vec![
            two(&good(), &basic()).refused("unverified_ambiguous"),
            two(&good(), &good()).refused("unverified_ambiguous"),
            Attempt::with("two authorization headers in one", format!("{},Bearer {}", good(), good()))
                .refused("unverified_ambiguous"),
            Attempt::with("a header's and another's", basic()).header("x-id-token", good()).refused("unverified_ambiguous"),
            Attempt::with("a header's and a cookie's", basic()).header("cookie", format!("__Host-id={}", good())).refused("unverified_ambiguous"),
            Attempt::with("a header's and a parameter's", basic()).path(format!("/?access_token={}", good())).refused("unverified_ambiguous"),
            Attempt::with("a good one and junk", good()).header("x-id-token", "junk").refused("unverified_ambiguous"),
            Attempt::without_token("a header twice").header("x-id-token", good()).header("x-id-token", basic()).refused("unverified_ambiguous"),
            Attempt::without_token("a cookie twice").header("cookie", format!("__Host-id={}; __Host-id={}", good(), basic())).refused("unverified_ambiguous"),
            Attempt::without_token("a cookie in two headers").header("cookie", format!("__Host-id={}", good())).header("cookie", format!("__Host-id={}", basic())).refused("unverified_ambiguous"),
            Attempt::without_token("a parameter twice, once with an escape in its name").path(format!("/?access_token={}&access%5ftoken={}", good(), basic())).refused("unverified_ambiguous"),
            Attempt::without_token("a parameter twice, once with another escape").path(format!("/?%61ccess%5Ftoken={}&access_token={}", basic(), good())).refused("unverified_ambiguous"),
            Attempt::with("a header's and that of a parameter with an escape in its name", good()).path(format!("/?access%5Ftoken={}", basic())).refused("unverified_ambiguous"),
            Attempt::without_token("a parameter twice").path(format!("/?access_token={}&access_token={}", good(), basic())).refused("unverified_ambiguous"),
            Attempt::with("one token in every place", good()).header("x-id-token", good()).header("cookie", format!("__Host-id={}", good())).accepted("premium"),
        ]
    }

    an_empty_place_has_no_token {
        vec![
            Attempt::with("a cookie that was cleared", good()).header("cookie", "__Host-id=").accepted("premium"),
            Attempt::with("a cookie that was cleared in pieces", good()).header("cookie", "__Host-id=; __Host-id_0=; __Host-id_1=\"\"").accepted("premium"),
            Attempt::with("an empty header", good()).header("x-id-token", "").accepted("premium"),
            Attempt::with("an empty parameter", good()).path("/?access_token=&a=b&access_token=+&access_token=%20").accepted("premium"),
            Attempt::without_token("an empty bearer beside a cookie").header("authorization", "Bearer").header("cookie", format!("__Host-id={}", good())).accepted("premium"),
            Attempt::without_token("an empty bearer beside a header").header("authorization", "Bearer ").header("x-id-token", good()).accepted("premium"),
            Attempt::without_token("a cookie that was cleared, and set").header("cookie", format!("__Host-id=; __Host-id={}", good())).accepted("premium"),
            Attempt::without_token("an empty parameter beside another").path(format!("/?access_token=&access_token={}", good())).accepted("premium"),
            Attempt::without_token("nothing but empty places").path("/?access_token=").header("authorization", "Bearer").header("cookie", "__Host-id=").header("x-id-token", ""),
        ]
    }

    a_token_is_found_in_its_place_and_nowhere_else {
        let token = Mint::es256(ES256, premium());
        let (first, second) = token.split_at(token.len() / 2);
        vec![
            Attempt::without_token("a header").header("x-id-token", &token).accepted("premium"),
            Attempt::without_token("a cookie").header("cookie", format!("a=b; __Host-id={token}")).accepted("premium"),
            Attempt::without_token("a cookie in pieces").header("cookie", format!("__Host-id_1={second}; __Host-id_0={first}")).accepted("premium"),
            Attempt::without_token("a cookie, one piece missing").header("cookie", format!("__Host-id_0={first}; __Host-id_2={second}")).refused("unverified_malformed"),
            Attempt::without_token("a parameter").path(format!("/v2/models?a=b&access_token={token}")).accepted("premium"),
            Attempt::without_token("a parameter with escapes").path(format!("/?access_token={}", token.replace('.', "%2E"))).refused("unverified_malformed"),
            Attempt::without_token("another parameter").path(format!("/?xaccess_token={token}")),
            Attempt::without_token("a path").path(format!("/access_token={token}")),
            Attempt::without_token("another scheme").header("authorization", format!("Basic {token}")),
            Attempt::without_token("text before the scheme").header("authorization", format!("x Bearer {token}")),
            Attempt::without_token("no scheme").header("authorization", &token),
            Attempt::without_token("a scheme without a space").header("authorization", format!("Bearer{token}")),
            Attempt::without_token("a scheme without a token").header("authorization", "Bearer"),
            Attempt::without_token("two spaces after the scheme").header("authorization", format!("Bearer  {token}")).accepted("premium"),
            Attempt::without_token("many spaces after the scheme").header("authorization", format!("Bearer      {token}")).accepted("premium"),
            Attempt::without_token("a tab after the scheme").header("authorization", format!("Bearer\t{token}")),
            Attempt::without_token("a parameter with an escape in its name").path(format!("/?access%5Ftoken={token}")).accepted("premium"),
            Attempt::without_token("a parameter whose name has its escape escaped").path(format!("/?access%255Ftoken={token}")),
            Attempt::without_token("a scheme in lower case").header("authorization", format!("bearer {token}")).accepted("premium"),
        ]
    }
}
