//! `envoy/sso.yaml` with a real OpenID provider: by an agent that keeps cookies, and by a browser. Tests are ignored, by
//! name, where Envoy, the provider or Chromium is missing.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

mod by_browser;

use std::path::Path;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::agent::{Agent, asks_to_log_in, between};
use e2e::{Answer, Installed, Request, Seen, SignOn, Suite, Workload};
use serde_json::Value;

fn main() -> ExitCode {
    Suite::new()
        .sign_on("users_reach_the_workload_of_their_class", users_reach_their_workload)
        .sign_on("no_token_and_no_session_cookie_goes_upstream", nothing_goes_upstream)
        .sign_on("forged_headers_change_nothing_in_a_session", forged_headers)
        .sign_on("changed_session_cookies_are_no_session", changed_cookies)
        .sign_on("changed_state_and_another_users_callback_are_refused", changed_state)
        .sign_on("api_clients_need_no_login_and_no_id_token_is_for_the_api", api_clients)
        .sign_on("who_logs_out_is_asked_to_log_in_again", logs_out)
        .browser("a_browser_logs_in_and_out_as_both_users", by_browser::logs_in_and_out)
        .browser("forged_headers_and_cookies_of_a_browser_change_nothing", by_browser::changes_nothing)
        .browser("a_browser_with_the_state_of_another_gets_no_session", by_browser::foreign_state)
        .run()
}

/// The whole chain, with both workloads.
pub(crate) struct Chain {
    pub(crate) sign_on: SignOn,
    pub(crate) premium: Workload,
    pub(crate) everyone: Workload,
}

impl Chain {
    pub(crate) fn start(envoy: &Installed, provider: &Path) -> Self {
        let (premium, everyone) = (Workload::start("premium").unwrap(), Workload::start("everyone").unwrap());
        let sign_on = SignOn::start(&envoy.path, provider, premium.address(), everyone.address()).unwrap();
        Self { sign_on, premium, everyone }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.sign_on.url(path)
    }

    /// An agent that has logged in, and what it saw then.
    fn log_in(&self, user: &str) -> (Agent, Answer) {
        let mut agent = Agent::default();
        let page = agent.visit(&self.url("/models/one?x=y"), Some(user), None).unwrap();
        assert_eq!(
            page.url,
            self.url("/models/one?x=y"),
            "{user} comes back to where it began: {}",
            page.answer.text()
        );
        (agent, page.answer)
    }
}

fn label(seen: &Seen) -> Vec<(String, String)> {
    let labels = seen.headers.iter().filter(|(name, _)| name.replace('_', "-") == "user-class");
    labels.map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned())).collect()
}

fn labelled(class: &str) -> Vec<(String, String)> {
    vec![("user_class".to_owned(), class.to_owned())]
}

fn users_reach_their_workload(envoy: &Installed, provider: &Path) {
    let chain = Chain::start(envoy, provider);
    for (user, workload, class) in [
        ("premium-user", "premium", "premium"),
        ("basic-user", "everyone", "basic"),
        ("hostile-user", "everyone", "basic"),
        ("large-user", "premium", "premium"),
    ] {
        let (mut agent, answer) = chain.log_in(user);
        let server = if workload == "premium" { &chain.premium } else { &chain.everyone };
        for answer in [answer, agent.get(&chain.url("/again")).unwrap()] {
            assert_eq!((answer.status(), answer.text()), (200, format!("workload {workload}\n")), "{user}");
            assert_eq!(label(&server.requests().pop().unwrap()), labelled(class), "{user}");
        }
        let pieces =
            agent.cookies(chain.sign_on.gateway()).iter().filter(|(name, _)| name.starts_with("__Host-id"));
        assert_eq!(pieces.count() > 1, user == "large-user", "{user}: {:?}", names(&mut agent, &chain));
    }
    let script = Request::get("/").header("x-requested-with", "XMLHttpRequest");
    assert_eq!(Agent::default().send(chain.sign_on.gateway(), script).unwrap().status(), 401);
}

fn names(agent: &mut Agent, chain: &Chain) -> Vec<String> {
    agent.cookies(chain.sign_on.gateway()).iter().map(|(name, _)| name.clone()).collect()
}

fn nothing_goes_upstream(envoy: &Installed, provider: &Path) {
    let chain = Chain::start(envoy, provider);
    for user in ["basic-user", "large-user"] {
        let (mut agent, _) = chain.log_in(user);
        agent.cookies(chain.sign_on.gateway()).insert(0, ("theme".to_owned(), "dark".to_owned()));
        let before = [&chain.premium, &chain.everyone].map(|workload| workload.requests().len());
        assert_eq!(agent.get(&chain.url("/")).unwrap().status(), 200);
        let after = chain.premium.requests().split_off(before[0]);
        let after = after.into_iter().chain(chain.everyone.requests().split_off(before[1]));
        for seen in after {
            assert_eq!(seen.all("cookie"), ["theme=dark"], "{user}");
            for gone in ["authorization", "x-id-token"] {
                assert_eq!(seen.all(gone), [""; 0], "{user} {gone}");
            }
            // However they might be called: a JSON object in base64url begins so.
            let tokens = seen.headers.iter().filter(|(_, value)| value.windows(3).any(|part| part == b"eyJ"));
            assert_eq!(tokens.count(), 0, "{user}: {seen:?}");
        }
    }
    assert!(!chain.sign_on.envoy.log().contains("eyJ"), "a token is in the log");
}

fn forged_headers(envoy: &Installed, provider: &Path) {
    let chain = Chain::start(envoy, provider);
    let (mut agent, _) = chain.log_in("basic-user");
    for names in [
        &["user_class"][..],
        &["user-class"],
        &["User_Class"],
        &["user_class", "user_class"],
        &["USER-CLASS", "user_class"],
        &["x-id-token"],
    ] {
        let add = |request: Request, name: &&str| request.header(name, "premium");
        let request = names.iter().fold(Request::get("/"), add);
        let answer = agent.send(chain.sign_on.gateway(), request).unwrap();
        assert_eq!(answer.text(), "workload everyone\n", "{names:?}");
        assert_eq!(label(&chain.everyone.requests().pop().unwrap()), labelled("basic"), "{names:?}");
        // Nor without a session: the request is sent to log in.
        let request = names.iter().fold(Request::get("/"), add);
        let answer = Agent::default().send(chain.sign_on.gateway(), request).unwrap();
        assert_eq!(answer.status(), 302, "{names:?}");
    }
    assert_eq!(chain.premium.requests(), []);
}

fn changed_cookies(envoy: &Installed, provider: &Path) {
    let chain = Chain::start(envoy, provider);
    let gateway = chain.sign_on.gateway();
    let (mut basic, _) = chain.log_in("basic-user");
    let (mut premium, _) = chain.log_in("premium-user");
    let asked = (chain.premium.requests().len(), chain.everyone.requests().len());
    let theirs = premium.cookies(gateway).clone();
    let session = ["__Host-hmac", "__Host-exp", "__Host-id", "__Host-at"];
    for name in session {
        type Change<'c> = (&'c str, Box<dyn Fn(&str) -> Option<String> + 'c>);
        let theirs = theirs.iter().find(|(known, _)| known == name).unwrap().1.clone();
        let flip = |value: &str| {
            let mut bytes = value.as_bytes().to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] = if bytes[middle] == b'1' { b'2' } else { b'1' };
            String::from_utf8(bytes).ok()
        };
        let changes: [Change; 4] = [
            ("one character", Box::new(flip)),
            ("cut", Box::new(|value| Some(value[..value.len() - 4].to_owned()))),
            ("removed", Box::new(|_| None)),
            ("a premium user's", Box::new(|_| Some(theirs.clone()))),
        ];
        for (what, change) in changes {
            let mut agent = basic.clone();
            let jar = agent.cookies(gateway);
            let at = jar.iter().position(|(known, _)| known == name).unwrap();
            let before = jar[at].1.clone();
            match change(&before) {
                // Both sessions began within one second.
                Some(same) if same == before => continue,
                Some(value) => jar[at].1 = value,
                None => drop(jar.remove(at)),
            }
            let answer = agent.get(&chain.url("/")).unwrap();
            let to_the_provider = format!("http://{}/auth?", chain.sign_on.issuer());
            let location = answer.header_text("location").unwrap_or_default();
            assert_eq!(answer.status(), 302, "{name}: {what}: {}", answer.text());
            assert!(location.starts_with(&to_the_provider), "{name}: {what}: {location}");
        }
    }
    assert_eq!((chain.premium.requests().len(), chain.everyone.requests().len()), asked);
    assert_eq!(
        basic.get(&chain.url("/")).unwrap().text(),
        "workload everyone\n",
        "the cookies as they were still are a session"
    );
}

fn changed_state(envoy: &Installed, provider: &Path) {
    let chain = Chain::start(envoy, provider);
    let callback = chain.url("/callback");
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);

    // The state names the page to come back to: another site.
    let mut agent = Agent::default();
    let location = agent.get(&chain.url("/")).unwrap().header_text("location").unwrap();
    let state = between(&location, "state=", "&").unwrap();
    let decoded = URL_SAFE_NO_PAD.decode(state.trim_end_matches('=').replace("%3D", "")).unwrap();
    let mut members: Value = serde_json::from_slice(&decoded).unwrap();
    members["url"] = "http://elsewhere.test/".into();
    let forged = location.replacen(state, &encode(&members.to_string()), 1);
    let back = agent.visit(&forged, Some("basic-user"), Some(&callback)).unwrap().url;
    let answer = agent.get(&back).unwrap();
    assert_eq!((answer.status(), answer.header_text("location")), (401, None), "{}", answer.text());

    // The state is invalid, or names another flow.
    for state in ["junk".to_owned(), encode("{}"), encode(r#"{"url":"/","csrf_token":"x"}"#), String::new()] {
        let mut agent = Agent::default();
        let location = agent.get(&chain.url("/")).unwrap().header_text("location").unwrap();
        let forged = location.replacen(between(&location, "state=", "&").unwrap(), &state, 1);
        let back = agent.visit(&forged, Some("premium-user"), Some(&callback)).unwrap().url;
        let answer = agent.get(&back).unwrap();
        assert_eq!(answer.status(), 401, "{state:?}: {}", answer.text());
        assert_eq!(agent.get(&chain.url("/")).unwrap().status(), 302, "{state:?} has made a session");
    }

    // The callback of somebody who has logged in, in an agent that has not asked for it; and a second time.
    let mut other = Agent::default();
    let back = other.visit(&chain.url("/"), Some("premium-user"), Some(&callback)).unwrap().url;
    let mut victim = Agent::default();
    let answer = victim.get(&back).unwrap();
    assert_eq!(answer.status(), 401, "{}", answer.text());
    assert_eq!(victim.get(&chain.url("/")).unwrap().status(), 302);
    assert_eq!(other.get(&back).unwrap().status(), 302);
    let mut replayed = Agent::default();
    assert_eq!(replayed.get(&back).unwrap().status(), 401);
    assert_eq!((chain.premium.requests(), chain.everyone.requests()), (Vec::new(), Vec::new()));
}

fn api_clients(envoy: &Installed, provider: &Path) {
    let chain = Chain::start(envoy, provider);
    for (user, workload) in
        [("premium-user", "premium"), ("basic-user", "everyone"), ("hostile-user", "everyone")]
    {
        let tokens = chain.sign_on.tokens(user).unwrap();
        let with = |token: &str| Request::get("/").header("authorization", format!("Bearer {token}"));
        let access = &tokens.access;
        let forged = with(access).header("user_class", "premium").header("user-class", "premium");
        let answer = Agent::default().send(chain.sign_on.gateway(), forged).unwrap();
        assert_eq!((answer.status(), answer.text()), (200, format!("workload {workload}\n")), "{user}");

        let id = &tokens.id;
        let basic = with("x.y.z").header("x-id-token", id);
        for refused in [with(id), with("x.y.z"), with(""), with(&access[..access.len() - 8]), basic] {
            let answer = Agent::default().send(chain.sign_on.gateway(), refused).unwrap();
            assert!(
                matches!(answer.status(), 302 | 401 | 403),
                "{user}: {} {}",
                answer.status(),
                answer.text()
            );
        }
    }
    assert_eq!((chain.premium.requests().len(), chain.everyone.requests().len()), (1, 2));
}

fn logs_out(envoy: &Installed, provider: &Path) {
    let chain = Chain::start(envoy, provider);
    let (mut agent, answer) = chain.log_in("premium-user");
    assert_eq!(answer.text(), "workload premium\n");
    let page = agent.visit(&chain.url("/signout"), None, None).unwrap();
    assert!(page.url.starts_with(&format!("http://{}/session/end", chain.sign_on.issuer())), "{}", page.url);
    assert_eq!(agent.get(&chain.url("/")).unwrap().status(), 302, "the gateway's session has ended");
    let answer = chain.sign_on.confirm_logout(&mut agent, &page).unwrap();
    assert_eq!(answer.header_text("location"), Some(chain.url("/")));
    let page = agent.visit(&chain.url("/"), None, None).unwrap();
    assert!(asks_to_log_in(&page.answer), "the provider's session has ended, too: {}", page.answer.text());
    // Another user in the same agent.
    assert_eq!(
        agent.visit(&page.url, Some("basic-user"), None).unwrap().answer.text(),
        "workload everyone\n"
    );
}
