//! The page in headless Chromium, as users see it.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use e2e::Browser;
use e2e::application::WORKLOADS;
use istio_lint::examples;

use super::Application;
use crate::exercise::claims::{HOST, ISSUER};

/// Users, and their classes.
const USERS: [(&str, &str); 2] = [("premium-user", "premium"), ("basic-user", "basic")];

/// Both users, each in a browser of their own, whose name server is the place's file of hosts.
pub(super) fn sign_in_and_paint(
    application: &Application<'_>,
    (chromium, driver): &(PathBuf, PathBuf),
) -> Result<()> {
    for (class, (user, name)) in USERS.into_iter().enumerate() {
        // The test's own authority is in no browser's store.
        let browser = Browser::start_with(chromium, driver, &["--ignore-certificate-errors"])?;
        paint(application, &browser, class, user, name).with_context(|| user.to_owned())?;
    }
    Ok(())
}

fn paint(
    application: &Application<'_>,
    browser: &Browser,
    class: usize,
    user: &str,
    name: &str,
) -> Result<()> {
    let home = format!("https://{HOST}/home");
    browser.open(&home)?;
    browser.wait_for_text("Log in")?;
    let login = browser.url()?;
    ensure!(login.starts_with(ISSUER), "the login is at {login}");
    browser.fill("input[name=user]", user)?;
    browser.fill("input[name=password]", user)?;
    browser.click("#login")?;
    browser.wait_for("document.documentElement.dataset.ready")?;
    let url = browser.url()?;
    ensure!(url == home, "after the login: {url}");
    let who = shown(browser, "#who")?;
    ensure!(who.contains(user) && who.contains(name), "signed in as {who:?}");

    let samples = examples().join("ai-application/services/page/samples");
    browser.fill("#picture", &samples.join("harbour.jpg").display().to_string())?;
    if class == 0 {
        browser.fill("#style-file", &samples.join("style-mosaic.jpg").display().to_string())?;
    }
    let mut expected = application.asked();
    expected[class] += 1;
    browser.wait_for("document.getElementById('go').getAttribute('aria-disabled') === 'false'")?;
    browser.click("#go")?;
    browser
        .wait_for("!document.getElementById('result').hidden || !document.getElementById('error').hidden")?;
    let error = shown(browser, "#error")?;
    ensure!(error.is_empty(), "the page says {error:?}");
    browser.wait_for("document.getElementById('after').naturalWidth > 0")?;
    for (fact, expected) in [("#f-class", name), ("#f-workload", WORKLOADS[class])] {
        let told = shown(browser, fact)?;
        ensure!(told == expected, "{fact} says {told:?}");
    }
    let asked = application.asked();
    ensure!(asked == expected, "the groups were asked {asked:?} times in all, and not {expected:?}");

    // What a script in the page says of its user.
    let script = "return fetch('/api/me', {headers: {'user_class': 'premium', 'User-Class': 'premium', 'x-user': 'root'}})\
        .then((answer) => answer.json()).then((me) => me.user + ' ' + me.class)";
    let told = browser.script(script)?;
    ensure!(told == format!("{user}@example.com {name}"), "a forged header makes the user {told}");
    let cookies = browser.cookies()?;
    let session =
        cookies.iter().filter(|cookie| cookie["name"].as_str().unwrap_or("").starts_with("__Host-session"));
    let kept = session.filter(|cookie| cookie["secure"] == true && cookie["httpOnly"] == true).count();
    ensure!(kept > 0, "no cookie of the session is secure and hidden from scripts: {cookies:?}");
    Ok(())
}

/// The text of an element as users read it; empty if it is hidden.
fn shown(browser: &Browser, selector: &str) -> Result<String> {
    let script = format!(
        "const found = document.querySelector('{selector}');\
         return found.offsetParent ? found.innerText.replace(/\\s+/g, ' ').trim() : ''"
    );
    Ok(browser.script(&script)?.as_str().unwrap_or_default().to_owned())
}
