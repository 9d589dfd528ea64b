//! What attackers send, each row of it a test. The same requests are in `tests/attacks.json`, for tests of the filter
//! in its hosts.

mod claims;
mod envelope;
pub(crate) mod metadata;
pub(crate) mod mint;
pub(crate) mod proxy;
mod requests;

use mint::Mint;
use proxy::Proxy;

/// What must become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expect {
    /// The counter that tells of it.
    counter: &'static str,
    /// The one value of `user_class` that goes upstream.
    class: Option<&'static str>,
    /// The one value of `x-level` that goes upstream.
    level: Option<String>,
}

/// A request, and what must become of it.
#[derive(Clone, Debug)]
struct Attempt {
    what: String,
    path: String,
    headers: Vec<(String, String)>,
    expect: Expect,
}

impl Attempt {
    /// A request with this token as bearer.
    fn with(what: impl Into<String>, token: impl AsRef<str>) -> Self {
        let attempt = Self::without_token(what);
        attempt.header("authorization", format!("Bearer {}", token.as_ref()))
    }

    /// A request that says of itself what only a token may say.
    fn without_token(what: impl Into<String>) -> Self {
        let headers = [("user_class", "premium"), ("user-class", "premium"), ("x-level", "9")];
        Self {
            what: what.into(),
            path: "/".to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            expect: Expect { counter: "unverified_no_token", class: None, level: None },
        }
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// It is not believed, and this counter says why.
    fn refused(mut self, counter: &'static str) -> Self {
        self.expect = Expect { counter, class: None, level: None };
        self
    }

    /// It is believed.
    fn accepted(mut self, class: &'static str) -> Self {
        self.expect = Expect { counter: "verified", class: Some(class), level: None };
        self
    }

    /// It is believed, and has this level.
    fn level(mut self, level: &str) -> Self {
        self.expect.level = Some(level.to_owned());
        self
    }
}

/// The filter's configuration for all attacks.
fn config() -> String {
    let keys = Mint::key_set();
    format!(
        r#"{{"source":"builtin",
"issuers":[{{"issuer":"https://idp.test","audiences":["inference"],"jwks":{keys}}}],
"token":{{"header":"x-id-token","cookie":"__Host-id","query":"access_token"}},
"map":[
{{"header":"user_class","claim":["user_type"],"type":"string","allow":["premium","basic"],"default":"basic"}},
{{"header":"x-level","claim":["level"],"type":"integer"}},
{{"header":"x-name","claim":["name"],"type":"string"}},
{{"header":"x-roles","claim":["realm_access","roles"],"type":"list"}}],
"strip":["x-id-token"],"strip_cookies":["__Host-id"]}}"#
    )
}

/// Runs the attempts of a row.
fn judge(attempts: Vec<Attempt>) {
    assert!(!attempts.is_empty());
    for attempt in attempts {
        let proxy = Proxy::new(&config());
        let outcome = proxy.send(&attempt.path, &attempt.headers);
        let what = &attempt.what;
        assert_eq!(outcome.count(attempt.expect.counter), 1, "{what}: {:?}", outcome.counts());
        let class = outcome.values_folded("user-class");
        assert_eq!(class, attempt.expect.class.into_iter().collect::<Vec<_>>(), "{what}");
        let level = outcome.values_folded("x-level");
        assert_eq!(level, attempt.expect.level.as_deref().into_iter().collect::<Vec<_>>(), "{what}");
        assert!(outcome.reselected, "{what}: the route is always selected again");
        let text = outcome
            .headers
            .iter()
            .all(|(_, value)| !value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')));
        assert!(text, "{what}: a line break went out");
    }
}

/// Names rows of attacks, and makes a test of each.
macro_rules! attacks {
    ($($name:ident $attempts:block)*) => {
        $(#[test]
        fn $name() {
            crate::attacks::judge($attempts);
        })*

        /// All rows of this file.
        #[cfg(not(target_family = "wasm"))]
        pub(super) fn all() -> Vec<(&'static str, Vec<crate::attacks::Attempt>)> {
            vec![$((stringify!($name), $attempts)),*]
        }
    };
}
use attacks;

#[cfg(not(target_family = "wasm"))]
#[test]
fn the_attacks_in_the_repository_are_these() {
    use serde_json::json;
    let rows = envelope::all().into_iter().chain(claims::all()).chain(requests::all());
    let attempt = |attempt: Attempt| {
        let Expect { counter, class, level } = attempt.expect;
        json!({"what": attempt.what, "path": attempt.path, "headers": attempt.headers,
            "expect": {"counter": counter, "class": class, "level": level}})
    };
    let rows: Vec<_> = rows
        .map(|(name, attempts)| json!({"name": name, "attempts": attempts.into_iter().map(attempt).collect::<Vec<_>>()}))
        .collect();
    let config: serde_json::Value = serde_json::from_str(&config()).unwrap();
    let mut text = serde_json::to_string_pretty(&json!({"config": config, "rows": rows})).unwrap();
    text.push('\n');
    crate::config::PACKAGE.assert_current("tests/attacks.json", &text);
}
