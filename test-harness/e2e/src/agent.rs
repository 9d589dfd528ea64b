//! A user agent without a browser: it follows redirects, keeps cookies, and fills the provider's forms.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::answer::Answer;
use crate::client::{Protocol, send};
use crate::error::Error;
use crate::request::Request;

/// The most redirects that are followed: more than a login has.
const MOST_STEPS: usize = 20;

/// Names and values.
pub type Cookies = Vec<(String, String)>;

/// A fresh user agent, unless it is a clone of a used one.
#[derive(Clone, Default)]
pub struct Agent {
    jars: BTreeMap<SocketAddr, Cookies>,
    sites: BTreeMap<String, SocketAddr>,
}

/// Where a walk of redirects has ended.
pub struct Page {
    /// Its address.
    pub url: String,
    /// The answer there; where the walk was stopped, the redirect to there.
    pub answer: Answer,
    /// Every request of the walk, in order.
    pub steps: Vec<Step>,
}

/// A request of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its method.
    pub method: String,
    /// What was asked.
    pub url: String,
    /// The status of the answer.
    pub status: u16,
}

impl Agent {
    /// An agent that finds the sites whose URLs begin with these texts, such as `https://idp.example.com`, at these
    /// addresses. It speaks plain HTTP there, also for `https`: a relay there speaks TLS for it.
    pub fn knowing(sites: &[(&str, SocketAddr)]) -> Self {
        let sites = sites.iter().map(|&(site, server)| (site.to_owned(), server)).collect();
        Self { sites, ..Self::default() }
    }

    /// Its cookies for a server.
    pub fn cookies(&mut self, server: SocketAddr) -> &mut Cookies {
        self.jars.entry(server).or_default()
    }

    /// One request with the cookies for its server. A redirect is not followed.
    ///
    /// # Errors
    /// If there is no complete answer, or it sets a cookie without a name.
    pub fn send(&mut self, server: SocketAddr, request: Request) -> Result<Answer, Error> {
        let pairs: Vec<String> =
            self.cookies(server).iter().map(|(name, value)| format!("{name}={value}")).collect();
        // Of the caller's own choice only if it names this server: `localhost` and its port, or a site.
        let named = request.authority.ends_with(&format!(":{}", server.port()))
            || self.sites.iter().any(|(site, at)| *at == server && authority_of(site) == request.authority);
        let authority = if named { request.authority } else { server.to_string() };
        let mut request = Request { authority, ..request };
        if !pairs.is_empty() {
            request = request.header("cookie", pairs.join("; "));
        }
        let answer = send(Protocol::Http1, server, &request)?.complete()?;
        let jar = self.cookies(server);
        let set = answer.head.iter().flat_map(|head| &head.headers).filter(|(name, _)| name == "set-cookie");
        for (_, value) in set {
            let text = String::from_utf8_lossy(value).into_owned();
            let nameless = || Error::Protocol(format!("a cookie without a name: {text:?}"));
            let (name, rest) = text.split_once('=').ok_or_else(nameless)?;
            let (value, attributes) = rest.split_once(';').unwrap_or((rest, ""));
            let attributes = attributes.to_ascii_lowercase();
            jar.retain(|(known, _)| known != name);
            // How servers take a cookie back.
            let gone = attributes.contains("max-age=0") || attributes.contains("01 jan 1970");
            if !gone && value != "deleted" && !value.is_empty() {
                jar.push((name.to_owned(), value.to_owned()));
            }
        }
        Ok(answer)
    }

    /// A GET of a URL on loopback or of a known site, as [`Agent::send`].
    ///
    /// # Errors
    /// As [`Agent::send`], or if the URL is another.
    pub fn get(&mut self, url: &str) -> Result<Answer, Error> {
        let (server, authority, path) = self.split(url)?;
        self.send(server, Request { authority, ..Request::get(&path) })
    }

    /// Opens an address and follows it to a page that does not redirect, or to one whose address begins with `stop`,
    /// which is not asked. As `user`, whose password is the same, it logs in when it is asked to.
    ///
    /// # Errors
    /// As [`Agent::get`], or if the redirects do not end.
    pub fn visit(&mut self, url: &str, user: Option<&str>, stop: Option<&str>) -> Result<Page, Error> {
        let mut url = url.to_owned();
        let mut steps = Vec::new();
        let mut request = Request::get("");
        while steps.len() < MOST_STEPS {
            let (server, authority, path) = self.split(&url)?;
            let asked = Request { path, authority: authority.clone(), ..request };
            let method = asked.method.clone();
            let answer = self.send(server, asked)?;
            steps.push(Step { method, url: url.clone(), status: answer.status() });
            request = Request::get("");
            if let Some(location) = answer.header_text("location") {
                url = if location.starts_with('/') {
                    let scheme = url.split("://").next().unwrap_or("http");
                    format!("{scheme}://{authority}{location}")
                } else {
                    location
                };
                if stop.is_some_and(|stop| url.starts_with(stop)) {
                    return Ok(Page { url, answer, steps });
                }
            } else if let Some(user) = user.filter(|_| asks_to_log_in(&answer)) {
                request = form("", &format!("user={user}&password={user}"));
            } else {
                return Ok(Page { url, answer, steps });
            }
        }
        Err(Error::Protocol(format!("{url}: redirects without end")))
    }

    /// Server, authority and path of a URL.
    fn split(&self, url: &str) -> Result<(SocketAddr, String, String), Error> {
        let known = self.sites.iter().find_map(|(site, server)| {
            let path = url.strip_prefix(site.as_str())?;
            let whole = path.is_empty() || path.starts_with(['/', '?']);
            whole.then(|| (*server, authority_of(site).to_owned(), path.to_owned()))
        });
        known.map_or_else(|| split(url), Ok)
    }
}

fn authority_of(site: &str) -> &str {
    site.split("://").nth(1).unwrap_or(site)
}

/// Whether the provider shows its form.
pub fn asks_to_log_in(answer: &Answer) -> bool {
    answer.text().contains(r#"id="login""#)
}

/// A form that is sent.
pub fn form(path: &str, body: &str) -> Request {
    Request::post(path, body).header("content-type", "application/x-www-form-urlencoded")
}

/// The text between two others, or after the first one if the second one is missing.
///
/// # Errors
/// If the first one is not there.
pub fn between<'t>(text: &'t str, before: &str, after: &str) -> Result<&'t str, Error> {
    let missing = || Error::Protocol(format!("no {before:?} in {text:?}"));
    let (_, rest) = text.split_once(before).ok_or_else(missing)?;
    Ok(rest.split_once(after).map_or(rest, |(found, _)| found))
}

/// Server, authority and path of a URL on loopback.
fn split(url: &str) -> Result<(SocketAddr, String, String), Error> {
    let parts = url.strip_prefix("http://").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    let server = parts.and_then(|(authority, path)| {
        let address = match authority.strip_prefix("localhost:") {
            Some(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?)),
            None => authority.parse().ok()?,
        };
        Some((address, authority.to_owned(), format!("/{path}")))
    });
    server.ok_or_else(|| Error::Protocol(format!("{url} is not the URL of a server on loopback")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn a_known_site_is_asked_by_its_own_name() {
        let server = Workload::start("one").unwrap();
        let mut agent = Agent::knowing(&[("https://site.example", server.address())]);
        for url in ["https://site.example/a?b", "https://site.example"] {
            assert_eq!(agent.get(url).unwrap().status(), 200, "{url}");
        }
        let hosts: Vec<_> = server.requests().iter().flat_map(|seen| seen.all("host")).collect();
        assert_eq!(hosts, ["site.example", "site.example"]);
        for other in ["https://site.example.org/", "http://site.example/", "https://other.example/"] {
            assert!(agent.get(other).is_err(), "{other}");
        }
    }
}
