//! The chain in headless Chromium, as users see it.

use crate::{Chain, label, labelled};
use e2e::agent::Agent;
use e2e::{Browser, Installed};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Chromium and its driver.
type Chromium = (PathBuf, PathBuf);

fn browser((chromium, driver): &Chromium) -> Browser {
    Browser::start(chromium, driver).unwrap()
}

/// On the provider's page.
fn log_in(browser: &Browser, user: &str) {
    browser.wait_for_text("Log in").unwrap();
    browser.fill("input[name=user]", user).unwrap();
    browser.fill("input[name=password]", user).unwrap();
    browser.click("#login").unwrap();
}

pub(crate) fn logs_in_and_out(envoy: &Installed, provider: &Path, chromium: &Chromium) {
    let chain = Chain::start(envoy, provider);
    let browser = browser(chromium);
    for (user, workload) in [("premium-user", "premium"), ("basic-user", "everyone")] {
        browser.open(&chain.url("/models/one")).unwrap();
        assert!(browser.url().unwrap().starts_with(&format!("http://{}/login/", chain.sign_on.issuer())));
        log_in(&browser, user);
        browser.wait_for_text(&format!("workload {workload}")).unwrap();
        assert_eq!(browser.url().unwrap(), chain.url("/models/one"));
        // Signed on: no second login.
        browser.open(&chain.url("/models/two")).unwrap();
        assert_eq!(browser.text().unwrap().trim(), format!("workload {workload}"));

        browser.open(&chain.url("/signout")).unwrap();
        browser.click("#logout").unwrap();
        browser.wait_for_text("Log in").unwrap();
        browser.open(&chain.url("/models/one")).unwrap();
        browser.wait_for_text("Log in").unwrap();
    }
}

pub(crate) fn changes_nothing(envoy: &Installed, provider: &Path, chromium: &Chromium) {
    let chain = Chain::start(envoy, provider);
    let browser = browser(chromium);
    browser.open(&chain.url("/")).unwrap();
    log_in(&browser, "basic-user");
    browser.wait_for_text("workload everyone").unwrap();
    for headers in [
        json!({"user_class": "premium"}),
        json!({"user-class": "premium"}),
        json!({"User_Class": "premium, premium"}),
        json!({"USER-CLASS": "premium", "user_class": "premium"}),
    ] {
        let answer = browser.fetch("/models/one", &headers).unwrap();
        assert_eq!(answer, (200, "workload everyone\n".to_owned()), "{headers}");
        assert_eq!(label(&chain.everyone.requests().pop().unwrap()), labelled("basic"), "{headers}");
    }
    // A changed session is not accepted. The provider still knows the user, so the browser comes back as the same one.
    for name in ["__Host-id", "__Host-hmac"] {
        let mut cookie =
            browser.cookies().unwrap().into_iter().find(|cookie| cookie["name"] == name).unwrap();
        let value = cookie["value"].as_str().unwrap();
        cookie["value"] = format!("{}AAAA", &value[..value.len() - 4]).into();
        browser.set_cookie(&cookie).unwrap();
        let script = browser.fetch("/", &json!({"x-requested-with": "XMLHttpRequest"})).unwrap();
        assert_eq!(script.0, 401, "{name}: {}", script.1);
        browser.open(&chain.url("/models/three")).unwrap();
        browser.wait_for_text("workload everyone").unwrap();
    }
    assert_eq!(chain.premium.requests(), []);
}

pub(crate) fn foreign_state(envoy: &Installed, provider: &Path, chromium: &Chromium) {
    let chain = Chain::start(envoy, provider);
    // An attacker's own login, whose address a victim opens.
    let attackers = Agent::default().get(&chain.url("/")).unwrap().header_text("location").unwrap();
    let browser = browser(chromium);
    browser.open(&attackers).unwrap();
    log_in(&browser, "premium-user");
    browser.wait_for_text("OAuth flow failed").unwrap();
    let session = browser.cookies().unwrap().into_iter().filter(|cookie| cookie["name"] == "__Host-hmac");
    assert_eq!(session.count(), 0);
    assert_eq!((chain.premium.requests(), chain.everyone.requests()), (Vec::new(), Vec::new()));
}
