//! Inputs to begin with.

use super::{ISSUED, Part};

const CLAIMS: &[&str] = &[
    r#""premium""#,
    r#""Zo\u00eb""#,
    r#""Doe, Jane""#,
    r#""a\r\nb""#,
    r#""\ud83d\ude00""#,
    r#""\ud83d""#,
    r#""""#,
    r#"" a ""#,
    "true",
    r#""false""#,
    "null",
    "5",
    "-0",
    "1.5",
    "1e21",
    "9007199254740993",
    "01",
    "NaN",
    "[]",
    r#"["a","b c"]"#,
    r#"["a","b,c"]"#,
    r#"["a",1]"#,
    "[1,2]",
    r#"{"d":"x"}"#,
    r#"{"d":"x","\u0064":"y"}"#,
    r#""x","iat":1.7e9"#,
    r#""x","nbf":4102444800.5"#,
    r#""x","aud":"b""#,
    r#""x"} "#,
    r#""x" /* */"#,
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
];

const HEADERS: &[&str] = &[
    r#"{"alg":"HS256"}"#,
    r#"{"alg":"HS256","typ":"application/at+jwt","kid":"k"}"#,
    r#"{"alg":"none"}"#,
    r#"{"\u0061lg":"HS256"}"#,
    r#"{"alg":"HS256","alg":"HS256"}"#,
    r#"{"alg":"HS256","crit":[]}"#,
    r#"{"alg":"HS256","b64":true}"#,
    r#"{"alg":"HS256","kid":null}"#,
    r#"{"alg":"HS256","typ":"JWT "}"#,
    r#"{"alg":"HS256","jwk":{"kty":"oct"}}"#,
    r#"["HS256"]"#,
];

const AUTHORIZATIONS: &[&str] = &[
    "Bearer \u{1}",
    "bearer   \u{1}",
    "Bearer",
    "Bearer \u{1},Bearer \u{2}",
    "Bearer,Bearer \u{1}",
    "Bearer \u{1}.",
    "Basic \u{1}",
    "\u{1}",
];

const COOKIES: &[&str] = &[
    "id=\u{1}",
    "id=\"\u{1}\"; a=b",
    "id=\u{1}; id=\u{2}",
    "id=; id=\u{1}",
    "id=\u{1}; id_0=\u{1}",
    "id_0=\u{1}; id_1=",
    "id.1=\u{1}",
    "ID=\u{1}; xid=\u{2}",
];

const PATHS: &[&str] = &[
    "?id_token=\u{1}",
    "v2/models?a=b&id%5ftoken=\u{1}",
    "?id_token=\u{1}&id%5Ftoken=\u{2}",
    "?id_token=&id_token=\u{1}",
    "?id_token=+%20&id_token=\u{1}",
    "?id%255ftoken=\u{1}",
    "?id_token=\u{1}#id_token=\u{2}",
    "?id_token",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let keys = &ISSUED.0;
    let sets = [
        keys.clone(),
        keys.replace("\"RS256\"", "null"),
        keys.replace("\"kid\":\"kid-rsa-sign\",", ""),
        keys.replace("kid-ec-sign", "kid-rsa-sign"),
        keys.replace("\"use\":\"sig\"", "\"use\":\"enc\""),
        r#"{"keys":[]}"#.to_owned(),
        r#"{"keys":[{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}"#.to_owned(),
    ];
    let constant = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let of = |part: Part| match part {
        Part::Claim => constant(CLAIMS),
        Part::Header => constant(HEADERS),
        Part::Authorization => constant(AUTHORIZATIONS),
        Part::Cookie => constant(COOKIES),
        Part::Path => constant(PATHS),
        Part::Keys => sets.to_vec(),
    };
    let number = |part: Part| Part::ALL.iter().position(|other| *other == part).unwrap_or_default() as u8;
    Part::ALL
        .into_iter()
        .flat_map(|part| of(part).into_iter().map(move |text| [&[number(part)], text.as_bytes()].concat()))
        .collect()
}
