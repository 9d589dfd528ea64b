//! Attacks on a token's form, its header and its signature.

use super::mint::{EDDSA, ES256, Mint, RS256, encode, good, premium, unsigned};
use super::{Attempt, attacks};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

attacks! {
    tokens_of_every_offered_algorithm_are_believed {
        vec![
            Attempt::with("RS256", good()).accepted("premium"),
            Attempt::with("ES256", Mint::es256(ES256, premium())).accepted("premium"),
            Attempt::with("EdDSA", Mint::eddsa(EDDSA, premium())).accepted("premium"),
        ]
    }

    the_algorithm_none_is_none_in_any_spelling {
        let header = |alg: &str| format!(r#"{{"alg":{alg},"kid":"kid-rsa-sign"}}"#);
        let algs = [r#""none""#, r#""None""#, r#""NONE""#, r#""nOnE""#, r#""""#, r#""rs256""#, r#""RS256 ""#, "0", "null", "true", r#"["RS256"]"#];
        let unsigned = |alg: &&str| Attempt::with(format!("alg {alg}, no signature"), unsigned(header(alg), premium()));
        let signed = |alg: &&str| Attempt::with(format!("alg {alg}, a right signature"), Mint::rs256(header(alg), premium()));
        let mut all: Vec<Attempt> = algs.iter().map(unsigned).chain(algs.iter().map(signed)).collect();
        all.push(Attempt::with("no alg", Mint::rs256(r#"{"kid":"kid-rsa-sign"}"#, premium())));
        all.into_iter().map(|attempt| attempt.refused("unverified_algorithm")).collect()
    }

    a_public_key_is_never_a_secret {
        let header = r#"{"alg":"HS256","kid":"kid-rsa-sign"}"#;
        let body: String = encode(Mint::rsa_der());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        [pem.as_bytes(), &Mint::rsa_der(), &Mint::rsa_modulus(), encode(Mint::rsa_modulus()).as_bytes(), b"", b"secret"]
            .into_iter()
            .enumerate()
            .map(|(number, secret)| {
                let token = Mint::hs256(secret, header, premium());
                Attempt::with(format!("HS256 with what is public, {number}"), token).refused("unverified_algorithm")
            })
            .collect()
    }

    an_algorithm_that_is_not_the_keys_is_refused {
        let header = |alg: &str, kid: &str| format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#);
        [("PS256", "kid-rsa-sign"), ("RS384", "kid-rsa-sign"), ("RS512", "kid-rsa-sign"), ("ES256", "kid-rsa-sign"), ("EdDSA", "kid-rsa-sign"), ("RS256", "kid-ec-sign"), ("ES384", "kid-ec-sign"), ("ES256", "kid-ed-sign"), ("HS256", "kid-ec-sign")]
            .into_iter()
            .map(|(alg, kid)| {
                let token = Mint::rs256(header(alg, kid), premium());
                Attempt::with(format!("{alg} with {kid}"), token).refused("unverified_algorithm")
            })
            .collect()
    }

    keys_in_a_token_are_never_used {
        let key = Mint::stranger_key();
        let with = |also: &str| format!(r#"{{"alg":"EdDSA","kid":"kid-ed-sign",{also}}}"#);
        let baits = [
            format!(r#""jwk":{key}"#),
            r#""jku":"https://evil.test/jwks""#.to_owned(),
            r#""x5u":"https://evil.test/chain.pem""#.to_owned(),
            r#""x5c":["MIIB"]"#.to_owned(),
            r#""x5t":"AAAA""#.to_owned(),
        ];
        let forged = baits.iter().map(|bait| {
            Attempt::with(format!("forged, {}", &bait[..6]), Mint::stranger(with(bait), premium())).refused("unverified_signature")
        });
        let ignored = baits.iter().map(|bait| {
            Attempt::with(format!("right, and {} ignored", &bait[..6]), Mint::eddsa(with(bait), premium())).accepted("premium")
        });
        forged.chain(ignored).collect()
    }

    a_key_id_names_one_key_or_none {
        let header = |kid: &str| format!(r#"{{"alg":"RS256","kid":{kid}}}"#);
        let unknown = [r#""unknown""#, r#""../../dev/null""#, r#""kid-rsa-sign ""#, r#""KID-RSA-SIGN""#, r#""""#, r#""' or '1'='1""#];
        let unknown = unknown.map(|kid| Attempt::with(format!("kid {kid}"), Mint::rs256(header(kid), premium())).refused("kid_unknown"));
        let malformed = ["0", "null", r#"["kid-rsa-sign"]"#, "{}"];
        let malformed = malformed.map(|kid| Attempt::with(format!("kid {kid}"), Mint::rs256(header(kid), premium())).refused("unverified_header"));
        let without = Attempt::with("no kid, and one key that suits", Mint::rs256(r#"{"alg":"RS256"}"#, premium())).accepted("premium");
        let other = Attempt::with("another key's kid", Mint::rs256(r#"{"alg":"ES256","kid":"kid-ec-sign"}"#, premium())).refused("unverified_signature");
        unknown.into_iter().chain(malformed).chain([without, other]).collect()
    }

    a_signature_that_is_not_right_is_wrong {
        let token = good();
        let (text, signature) = token.rsplit_once('.').unwrap();
        let wrong = [
            ("empty", String::new()),
            ("of another payload", Mint::rs256(RS256, super::mint::payload("")).rsplit_once('.').unwrap().1.to_owned()),
            ("one character changed", signature.replacen('A', "B", 1)),
            ("cut short", signature[..signature.len() - 4].to_owned()),
            ("longer", format!("{signature}AAAA")),
            ("zeros", encode([0; 256])),
        ];
        let mut all: Vec<Attempt> = wrong.iter().map(|(what, signature)| Attempt::with(format!("signature {what}"), format!("{text}.{signature}"))).collect();
        let es256 = Mint::es256(ES256, premium());
        let (text, _) = es256.rsplit_once('.').unwrap();
        all.push(Attempt::with("ECDSA with r and s of zero", format!("{text}.{}", encode([0; 64]))));
        all.push(Attempt::with("ECDSA in DER", format!("{text}.{}", encode([0x30; 70]))));
        all.push(Attempt::with("a stranger's", Mint::stranger(EDDSA, premium())));
        all.into_iter().map(|attempt| attempt.refused("unverified_signature")).collect()
    }

    an_extension_that_must_be_understood_is_not {
        [r#""crit":["exp"],"exp":1"#, r#""crit":["b64"],"b64":false"#, r#""crit":[]"#, r#""crit":null"#, r#""crit":"x""#, r#""b64":false"#, r#""b64":true"#]
            .into_iter()
            .map(|also| {
                let header = format!(r#"{{"alg":"RS256","kid":"kid-rsa-sign",{also}}}"#);
                Attempt::with(also, Mint::rs256(header, premium())).refused("unverified_header")
            })
            .collect()
    }

    members_that_are_there_twice_are_refused_however_they_are_written {
        let headers = [
            r#"{"alg":"RS256","alg":"RS256","kid":"kid-rsa-sign"}"#,
            r#"{"alg":"RS256","kid":"kid-rsa-sign","\u006bid":"kid-ec-sign"}"#,
            r#"{"alg":"none","\u0061lg":"RS256","kid":"kid-rsa-sign"}"#,
        ];
        let payloads = [
            super::mint::payload(r#","user_type":"basic","user_type":"premium""#),
            super::mint::payload(r#","user_type":"basic","user\u005ftype":"premium""#),
            super::mint::payload(r#","exp":4102444800"#),
            super::mint::payload(r#","a":{"b":1,"b":2}"#),
        ];
        let headers = headers.iter().map(|header| Attempt::with(*header, Mint::rs256(header, premium())));
        let payloads = payloads.iter().map(|payload| Attempt::with(payload, Mint::rs256(RS256, payload)));
        headers.chain(payloads).map(|attempt| attempt.refused("unverified_malformed")).collect()
    }

    base64_that_is_not_canonical_is_refused {
        let token = good();
        let mut parts = token.split('.');
        let (header, payload, signature) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        // 256 bytes end in a character of which four bits mean nothing.
        let (rest, last) = signature.split_at(signature.len() - 1);
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let next = alphabet.as_bytes()[alphabet.find(last).unwrap() + 1] as char;
        [
            ("bits that mean nothing", format!("{header}.{payload}.{rest}{next}")),
            ("padding", format!("{header}.{payload}.{signature}==")),
            ("too little padding", format!("{header}.{payload}.{signature}=")),
            ("padding in the header", format!("{header}=.{payload}.{signature}")),
            ("the other alphabet", format!("{header}.{payload}.+/{}", &signature[2..])),
            ("a dot after it", format!("{token}.")),
            ("a dot before it", format!(".{token}")),
            ("five parts", format!("{token}.AA.AA")),
            ("two parts", format!("{header}.{payload}")),
            ("a space after it", format!("{token} x")),
            ("a tab in it", format!("{header}.\t{payload}.{signature}")),
            ("quotes", format!("\"{token}\"")),
            ("JSON serialisation", format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#)),
        ]
        .into_iter()
        .map(|(what, token)| Attempt::with(what, token).refused("unverified_malformed"))
        .collect()
    }

    text_that_is_not_quite_json_is_refused {
        let odd: [(&str, Vec<u8>); 9] = [
            ("single quotes", premium().replace('"', "'").into_bytes()),
            ("a byte-order mark", [b"\xef\xbb\xbf", premium().as_bytes()].concat()),
            ("a comment", format!("{} /* x */", premium()).into_bytes()),
            ("trailing junk", format!("{}x", premium()).into_bytes()),
            ("two objects", format!("{}{{}}", premium()).into_bytes()),
            ("bad UTF-8", [&premium().as_bytes()[..premium().len() - 1], b",\"x\":\"\xff\"}"].concat()),
            ("an array", b"[]".to_vec()),
            ("a string", b"\"premium\"".to_vec()),
            ("nothing", Vec::new()),
        ];
        let payloads = odd.iter().map(|(what, text)| Attempt::with(format!("payload: {what}"), Mint::rs256(RS256, text)));
        let header = |text: Vec<u8>| Mint::rs256(text, premium());
        let headers = [
            Attempt::with("header: single quotes", header(RS256.replace('"', "'").into_bytes())),
            Attempt::with("header: a byte-order mark", header([b"\xef\xbb\xbf", RS256.as_bytes()].concat())),
            Attempt::with("header: trailing junk", header(format!("{RS256} x").into_bytes())),
            Attempt::with("header: bad UTF-8", header(b"{\"alg\":\"RS256\",\"kid\":\"\xff\"}".to_vec())),
            Attempt::with("header: a list", header(b"[]".to_vec())),
        ];
        payloads.chain(headers).map(|attempt| attempt.refused("unverified_malformed")).collect()
    }

    what_is_too_deep_or_too_large_is_refused {
        let deep = |depth: usize| super::mint::payload(&format!(r#","x":{}{}"#, "[".repeat(depth), "]".repeat(depth)));
        let large = super::mint::payload(&format!(r#","x":"{}""#, "x".repeat(50_000)));
        vec![
            Attempt::with("31 levels below the payload", Mint::rs256(RS256, deep(31))).accepted("basic"),
            Attempt::with("33 levels", Mint::rs256(RS256, deep(32))).refused("unverified_malformed"),
            Attempt::with("2000 levels", Mint::rs256(RS256, deep(2000))).refused("unverified_malformed"),
            Attempt::with("50 kB", Mint::rs256(RS256, large)).refused("unverified_too_large"),
        ]
    }

    a_type_that_is_no_token_for_us_is_refused {
        let header = |typ: &str| format!(r#"{{"alg":"RS256","kid":"kid-rsa-sign","typ":{typ}}}"#);
        let bad = [r#""logout+jwt""#, r#""dpop+jwt""#, r#""secevent+jwt""#, r#""""#, "null", "1", r#""JWT ""#];
        let good = [r#""JWT""#, r#""jwt""#, r#""at+jwt""#, r#""application/at+jwt""#];
        let bad = bad.map(|typ| Attempt::with(format!("typ {typ}"), Mint::rs256(header(typ), premium())).refused("unverified_header"));
        let good = good.map(|typ| Attempt::with(format!("typ {typ}"), Mint::rs256(header(typ), premium())).accepted("premium"));
        bad.into_iter().chain(good).collect()
    }
}
