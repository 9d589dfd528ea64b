//! What attackers send, and what must become of it.

use crate::identity::{HEADER, Issuer, payload};
use e2e::{Protocol, Request, base64url};

/// A listener of the bootstraps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// `jwt_authn` verifies.
    Gateway,
    /// `claim-headers` verifies.
    Builtin,
}

impl Listener {
    pub(crate) const ALL: [Self; 2] = [Self::Gateway, Self::Builtin];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Builtin => "builtin",
        }
    }

    /// The header that the class is in.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Gateway => "user_class",
            Self::Builtin => "x-user-class",
        }
    }

    /// Names that a server may take for that header.
    pub(crate) fn spellings(self) -> &'static [&'static str] {
        match self {
            Self::Gateway => &["user_class", "user-class", "User_Class", "USER-CLASS"],
            Self::Builtin => &["x-user-class", "x_user_class", "X-User_Class", "X_USER-CLASS"],
        }
    }
}

/// Who is to be told what of an attempt.
#[derive(Clone, Copy)]
enum Outcome {
    /// Everyone's workload, and nothing of the user's class.
    Unknown,
    /// Everyone's workload: the token is right, and says or leaves nothing but `basic`.
    Basic,
    /// `jwt_authn` answers with this status; `claim-headers` passes it on as [`Outcome::Unknown`].
    Refused(&'static str),
}

/// A request of a user who is not premium.
pub(crate) struct Attempt {
    pub(crate) name: String,
    request: Request,
    outcome: Outcome,
    header: &'static str,
}

impl Attempt {
    pub(crate) fn over(&self, protocol: Protocol) -> Request {
        let mut request = self.request.clone();
        if protocol == Protocol::Http2 {
            for (name, _) in &mut request.headers {
                name.make_ascii_lowercase();
            }
        }
        request
    }

    /// Who must answer: a workload, or a status.
    pub(crate) fn expected(&self, listener: Listener) -> &'static str {
        match (self.outcome, listener) {
            (Outcome::Refused(status), Listener::Gateway) => status,
            _ => "everyone",
        }
    }

    /// What the workload must be told, if it is asked.
    pub(crate) fn label(&self) -> Vec<(String, String)> {
        match self.outcome {
            Outcome::Basic => vec![(self.header.to_owned(), "basic".to_owned())],
            Outcome::Unknown | Outcome::Refused(_) => Vec::new(),
        }
    }
}

fn get() -> Request {
    Request::get("/models/one")
}

fn with(request: Request, token: &str) -> Request {
    request.header("authorization", format!("Bearer {token}"))
}

/// Five people who are not premium, each with the header in every spelling, once and twice.
pub(crate) fn forged_headers(issuer: &Issuer, listener: Listener) -> Vec<Attempt> {
    let preflight = Request::new("OPTIONS", "/models/one")
        .header("origin", "https://app.test")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization");
    let stranger = Issuer::new(2).token(r#""premium""#);
    let people = [
        ("no token", get(), Outcome::Unknown),
        ("a basic user", with(get(), &issuer.token(r#""basic""#)), Outcome::Basic),
        ("a stranger's token", with(get(), &stranger), Outcome::Refused("401")),
        ("an open path", Request::get("/healthz"), Outcome::Unknown),
        (
            "an open path with junk",
            Request::get("/healthz?x=1").header("authorization", "Bearer junk"),
            Outcome::Unknown,
        ),
        ("a preflight", preflight, Outcome::Unknown),
    ];
    let values: [&[&str]; 5] =
        [&["premium"], &["premium", "premium"], &["basic", "premium"], &["premium,basic"], &[" premium\t"]];
    let mut attempts = Vec::new();
    for (person, request, outcome) in &people {
        for spelling in listener.spellings() {
            for values in values {
                let add = |request: Request, value: &&str| request.header(spelling, value);
                attempts.push(Attempt {
                    name: format!("{person}, {spelling}: {values:?}"),
                    request: values.iter().fold(request.clone(), add),
                    outcome: *outcome,
                    header: listener.header(),
                });
            }
        }
        let all = |request: Request, spelling: &&str| request.header(spelling, "premium");
        attempts.push(Attempt {
            name: format!("{person}, every spelling at once"),
            request: listener.spellings().iter().fold(request.clone(), all),
            outcome: *outcome,
            header: listener.header(),
        });
    }
    let parameter = format!("/models/one?{}=premium", listener.header());
    let claims = base64url(payload(r#""premium""#));
    let forged = [
        ("a parameter", Request::get(&parameter), Outcome::Unknown),
        ("claims without a token", get().header("x-verified-claims", &claims), Outcome::Unknown),
        (
            "claims on an open path, twice",
            Request::get("/healthz")
                .header("x-verified-claims", &claims)
                .header("x-verified-claims", &claims),
            Outcome::Unknown,
        ),
        (
            "claims beside a basic user's token",
            with(get(), &issuer.token(r#""basic""#)).header("x-verified-claims", &claims),
            Outcome::Basic,
        ),
    ];
    attempts.extend(named(listener, forged));
    attempts
}

/// Premium users' tokens with which something is wrong.
pub(crate) fn bad_tokens(issuer: &Issuer, listener: Listener) -> Vec<Attempt> {
    let premium = payload(r#""premium""#);
    let good = issuer.sign(HEADER, &premium);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let basic = issuer.token(r#""basic""#);
    let of_basic = basic.rsplit_once('.').unwrap().1;
    let stranger = Issuer::new(2);
    let header = |header: &str| issuer.sign(header, &premium);
    let claims = |from: &str, to: &str| {
        assert!(premium.contains(from), "{from}");
        issuer.sign(HEADER, &premium.replacen(from, to, 1))
    };
    let unsigned = |header: &str| format!("{}.{}.", base64url(header), base64url(&premium));
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let embedded = format!(r#"{{"alg":"ES256","kid":"one","jwk":{}}}"#, stranger.key());
    let tokens = [
        ("junk", "x.y.z".to_owned()),
        ("dots", "....".to_owned()),
        ("one part", signed.split('.').next().unwrap().to_owned()),
        ("too much", "a".repeat(20_000)),
        ("no signature", format!("{signed}.")),
        ("no last part", signed.to_owned()),
        ("half a signature", format!("{signed}.{}", &signature[..40])),
        ("a bit of the signature", format!("{signed}.{flipped}{}", &signature[1..])),
        ("another token's signature", format!("{signed}.{of_basic}")),
        ("a zero signature", format!("{signed}.{}", base64url([0; 64]))),
        ("a stranger's signature", stranger.sign(HEADER, &premium)),
        ("a stranger's key within", stranger.sign(&embedded, &premium)),
        ("alg none", unsigned(r#"{"alg":"none"}"#)),
        ("alg None, signed", header(r#"{"alg":"None","kid":"one"}"#)),
        ("alg missing", header(r#"{"kid":"one"}"#)),
        ("alg of another kind", header(r#"{"alg":"RS256","kid":"one"}"#)),
        ("alg of a secret", header(r#"{"alg":"HS256","kid":"one"}"#)),
        ("an unknown key", header(r#"{"alg":"ES256","kid":"two"}"#)),
        ("another issuer", claims("http://127.0.0.1:8090", "http://127.0.0.1:8091")),
        ("an issuer with a slash", claims("127.0.0.1:8090", "127.0.0.1:8090/")),
        ("an end in the past", claims("4102444800", "1700000001")),
        ("no end", claims(r#""exp":4102444800,"#, "")),
        ("an end that is text", claims("4102444800", r#""4102444800""#)),
        ("a beginning in the future", claims(r#""exp""#, r#""nbf":4102444700,"exp""#)),
        ("a member twice", claims(r#""user_type""#, r#""user_type":"basic","user_type""#)),
        ("no JSON", issuer.sign(HEADER, "premium")),
    ];
    let attempts = tokens.map(|(name, token)| (name, with(get(), &token), Outcome::Refused("401")));
    let audiences = [
        ("another audience", claims(r#""inference""#, r#""other""#)),
        ("no audience", claims(r#""aud":"inference","#, "")),
    ];
    let audiences = audiences.map(|(name, token)| (name, with(get(), &token), Outcome::Refused("403")));
    named(listener, attempts).chain(named(listener, audiences)).collect()
}

/// Tokens that are right, and whose claim is nothing that a route goes by.
pub(crate) fn odd_claims(issuer: &Issuer, listener: Listener) -> Vec<Attempt> {
    let claims = [
        "null",
        "true",
        "1",
        r#""""#,
        r#"["premium"]"#,
        r#"[["premium"]]"#,
        r#"{"premium":"premium"}"#,
        r#""PREMIUM""#,
        r#"" premium""#,
        r#""premium ""#,
        r#""premium,basic""#,
        r#""premium\t""#,
        r#""premium\r\nx-injected: 1""#,
        r#""basic\r\nuser_class: premium""#,
        r#""\u007fpremium""#,
        r#""prémium""#,
    ];
    let of = |claim: &'static str| (claim, with(get(), &issuer.token(claim)), Outcome::Basic);
    named(listener, claims.map(of)).collect()
}

/// A basic user's token and a premium user's, which somebody has got hold of, in a place where none belongs.
pub(crate) fn two_tokens(issuer: &Issuer, listener: Listener) -> Vec<Attempt> {
    let (basic, premium) = (issuer.token(r#""basic""#), issuer.token(r#""premium""#));
    let both = || with(with(get(), &basic), &premium);
    let ignored = |request: Request| with(request, &basic);
    named(
        listener,
        [
            ("two headers", both(), Outcome::Refused("401")),
            (
                "two headers, the other way round",
                with(with(get(), &premium), &basic),
                Outcome::Refused("401"),
            ),
            (
                "two in one header",
                with(get(), &format!("{basic}, Bearer {premium}")),
                Outcome::Refused("401"),
            ),
            (
                "a cookie",
                ignored(get().header("cookie", format!("access_token={premium}; __Host-id={premium}"))),
                Outcome::Basic,
            ),
            ("another header", ignored(get().header("x-id-token", &premium)), Outcome::Basic),
            ("a parameter", ignored(Request::get(&format!("/?access_token={premium}"))), Outcome::Basic),
            ("a cookie alone", get().header("cookie", format!("access_token={premium}")), Outcome::Unknown),
            ("another header alone", get().header("x-id-token", &premium), Outcome::Unknown),
            ("a parameter alone", Request::get(&format!("/?access_token={premium}")), Outcome::Unknown),
            ("a scheme and nothing", get().header("authorization", "Bearer"), Outcome::Unknown),
            ("another scheme", get().header("authorization", format!("Basic {premium}")), Outcome::Unknown),
        ],
    )
    .collect()
}

fn named<'a, const N: usize>(
    listener: Listener,
    attempts: [(&'a str, Request, Outcome); N],
) -> impl Iterator<Item = Attempt> + use<'a, N> {
    attempts.into_iter().map(move |(name, request, outcome)| Attempt {
        name: name.to_owned(),
        request,
        outcome,
        header: listener.header(),
    })
}
