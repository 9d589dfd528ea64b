//! URLs, as far as a request through a cluster needs them.

/// An `http` or `https` URL (RFC 3986, section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) authority: String,
    /// Path and query; begins with a slash.
    pub(crate) path: String,
}

impl Url {
    /// Takes a URL apart; `None` if it is not valid, or could be read in more than one way.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
        let is_plain = |byte: u8| matches!(byte, b'!'..=b'~') && !b"#\\\"<>".contains(&byte);
        if !rest.bytes().all(is_plain) {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let named = !authority.is_empty() && !authority.contains('@');
        named.then(|| Self { authority: authority.to_owned(), path })
    }

    /// The URL of an issuer's discovery document (OpenID Connect Discovery 1.0, section 4).
    pub(crate) fn discovery(issuer: &str) -> Option<Self> {
        Self::parse(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_url_has_an_authority_and_a_path() {
        let of = |url: &str| Url::parse(url).map(|url| (url.authority, url.path));
        let some = |authority: &str, path: &str| Some((authority.to_owned(), path.to_owned()));
        assert_eq!(of("https://idp.test/keys?a=b"), some("idp.test", "/keys?a=b"));
        assert_eq!(of("http://[::1]:8080"), some("[::1]:8080", "/"));
        assert_eq!(of("https://idp.test?a"), some("idp.test", "/?a"));
        for url in [
            "ftp://idp.test/",
            "https:///keys",
            "idp.test",
            "https://u:p@idp.test/",
            "https://idp.test/a b",
            "https://idp.test/\r\nx: y",
            "https://idp.test/#x",
            "",
        ] {
            assert_eq!(of(url), None, "{url:?}");
        }
        assert_eq!(
            Url::discovery("https://idp.test/realm/").unwrap().path,
            "/realm/.well-known/openid-configuration"
        );
    }
}
