//! A user agent without a browser: it follows redirects, keeps cookies, and fills the provider's forms.

use e2e::{Answer, Protocol, Request, send};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// More redirects than a login has.
const MOST_STEPS: usize = 20;

/// Names and values.
pub(crate) type Cookies = Vec<(String, String)>;

#[derive(Clone, Default)]
pub(crate) struct Agent {
    jars: BTreeMap<SocketAddr, Cookies>,
}

/// Where a walk of redirects has ended.
pub(crate) struct Page {
    pub(crate) url: String,
    pub(crate) answer: Answer,
}

impl Agent {
    /// Its cookies for a server.
    pub(crate) fn cookies(&mut self, server: SocketAddr) -> &mut Cookies {
        self.jars.entry(server).or_default()
    }

    /// One request with the cookies for its server, and none followed.
    pub(crate) fn send(&mut self, server: SocketAddr, request: Request) -> Answer {
        let jar = self.cookies(server);
        let pairs: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Request { authority: server.to_string(), ..request };
        if !pairs.is_empty() {
            request = request.header("cookie", pairs.join("; "));
        }
        let answer = send(Protocol::Http1, server, &request).unwrap().complete().unwrap();
        let set = answer.head.iter().flat_map(|head| &head.headers).filter(|(name, _)| name == "set-cookie");
        for (_, value) in set {
            let text = String::from_utf8_lossy(value).into_owned();
            let (name, rest) = text.split_once('=').unwrap();
            let (value, attributes) = rest.split_once(';').unwrap_or((rest, ""));
            let attributes = attributes.to_ascii_lowercase();
            jar.retain(|(known, _)| known != name);
            if !attributes.contains("max-age=0") && !attributes.contains("01 jan 1970") && value != "deleted"
            {
                jar.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    pub(crate) fn get(&mut self, url: &str) -> Answer {
        let (server, path) = split(url);
        self.send(server, Request::get(&path))
    }

    /// Opens an address and follows it to a page that is no redirect, or to one that `stop` names. As `user` it logs in
    /// when it is asked to.
    pub(crate) fn visit(&mut self, url: &str, user: Option<&str>, stop: &str) -> Page {
        let mut url = url.to_owned();
        let mut answer = self.get(&url);
        for _ in 0..MOST_STEPS {
            if let Some(location) = answer.header_text("location") {
                let (server, _) = split(&url);
                url = if location.starts_with('/') { format!("http://{server}{location}") } else { location };
                if !stop.is_empty() && url.starts_with(stop) {
                    return Page { url, answer };
                }
                answer = self.get(&url);
            } else if let Some(user) = user.filter(|_| asks_to_log_in(&answer)) {
                let (server, path) = split(&url);
                answer = self.send(server, form(&path, &format!("user={user}&password={user}")));
            } else {
                return Page { url, answer };
            }
        }
        panic!("{url}: redirects without end");
    }
}

/// Whether the provider shows its form.
pub(crate) fn asks_to_log_in(answer: &Answer) -> bool {
    answer.text().contains(r#"id="login""#)
}

pub(crate) fn form(path: &str, body: &str) -> Request {
    Request::post(path, body).header("content-type", "application/x-www-form-urlencoded")
}

/// Server and path of a URL on loopback.
fn split(url: &str) -> (SocketAddr, String) {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url} is none of ours"));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    (authority.parse().unwrap_or_else(|_| panic!("{url} is none of ours")), format!("/{path}"))
}

/// The value between two texts.
pub(crate) fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {text:?}")).1;
    rest.split_once(after).unwrap_or((rest, "")).0
}
