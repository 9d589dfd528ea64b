//! The page in headless Chromium, as users see it, with the real models.

use crate::pictures::Pictures;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::Browser;
use e2e::application::{Application, Form, GROUPS, Parts, WORKLOADS};
use std::path::PathBuf;

const USERS: [(&str, &str); 2] = [("premium-user", "premium"), ("basic-user", "basic")];

pub(crate) fn pictures_are_painted(parts: &Parts, how: Form, chromium: &(PathBuf, PathBuf)) {
    let mut application = Application::start(parts, how).unwrap();
    let pictures = Pictures::make(parts);
    let browser = Browser::start(&chromium.0, &chromium.1).unwrap();
    let mut painted = Vec::new();
    for (class, (user, name)) in USERS.into_iter().enumerate() {
        log_in(&browser, &application, user);
        assert!(shown(&browser, "#who").contains(&format!("{user} {name}")), "{}", shown(&browser, "#who"));
        choose(&browser, &pictures.path(&format!("{}.png", GROUPS[class])));
        if name == "premium" {
            browser.fill("#style-file", &pictures.path("style.png")).unwrap();
        }
        let asked = application.asked();
        paint(&browser);
        let result = after(&browser);
        pictures.is_as_the_engines_paint(parts, GROUPS[class], &result);
        painted.push(result);
        for (fact, told) in [("#f-class", name), ("#f-workload", WORKLOADS[class])] {
            assert_eq!(shown(&browser, fact), told, "{user}");
        }
        assert_eq!(application.group_of(&shown(&browser, "#f-endpoint")), GROUPS[class], "{user}");
        let runtime = ["ONNX Runtime", "OpenVINO"][class];
        assert!(shown(&browser, "#f-runtime").starts_with(runtime), "{user}");
        assert_eq!(browser.script("return document.querySelectorAll('#legs li').length").unwrap(), 6);
        let mut expected = asked;
        expected[class] += 1;
        assert_eq!(application.asked(), expected, "{user}: one inference, in the group of the class");
        if name == "basic" {
            forgeries_change_nothing(&browser);
            slider_moves_by_keyboard(&browser);
            refused_in_words(&browser, &pictures);
            failures_are_explained(&browser, &mut application, &pictures);
        }
        sign_out(&browser);
    }
    assert_ne!(painted[0], painted[1]);
}

fn log_in(browser: &Browser, application: &Application, user: &str) {
    browser.open(&application.url("/home").unwrap()).unwrap();
    browser.wait_for_text("Log in").unwrap();
    browser.fill("input[name=user]", user).unwrap();
    browser.fill("input[name=password]", user).unwrap();
    browser.click("#login").unwrap();
    browser.wait_for("document.documentElement.dataset.ready").unwrap();
}

fn sign_out(browser: &Browser) {
    browser.click("#who a").unwrap();
    browser.wait_for_text("Log out").unwrap();
    browser.click("#logout").unwrap();
    // Back at the gateway, whose session has ended: log in again.
    browser.wait_for_text("Log in").unwrap();
}

fn choose(browser: &Browser, path: &str) {
    browser.fill("#picture", path).unwrap();
}

fn paint(browser: &Browser) {
    browser.wait_for("document.getElementById('go').getAttribute('aria-disabled') === 'false'").unwrap();
    browser.click("#go").unwrap();
    browser
        .wait_for("!document.getElementById('result').hidden || !document.getElementById('error').hidden")
        .unwrap();
    assert_eq!(shown(browser, "#error"), "");
}

/// The text of an element as users read it; empty if it is hidden.
fn shown(browser: &Browser, selector: &str) -> String {
    let script = format!(
        "const found = document.querySelector('{selector}');\
         return found.offsetParent ? found.innerText.replace(/\\s+/g, ' ').trim() : ''"
    );
    browser.script(&script).unwrap().as_str().unwrap().to_owned()
}

/// The picture that is shown as the result, pixel by pixel.
fn after(browser: &Browser) -> Vec<u8> {
    let script = "const image = document.getElementById('after'), canvas = document.createElement('canvas');\
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;\
        canvas.getContext('2d').drawImage(image, 0, 0); return canvas.toDataURL('image/png').split(',')[1]";
    STANDARD.decode(browser.script(script).unwrap().as_str().unwrap()).unwrap()
}

/// What a script in the page sends of its own.
fn forgeries_change_nothing(browser: &Browser) {
    let script = "const form = new FormData();\
        form.append('picture', await (await fetch('/page/samples/harbour.jpg')).blob());\
        const headers = {'user_class': 'premium', 'User-Class': 'premium', 'x-requested-with': 'XMLHttpRequest'};\
        const me = await (await fetch('/api/me', {headers})).json();\
        const answer = await fetch('/api/picture', {method: 'POST', headers, body: form});\
        return [me.class, answer.status, answer.headers.get('x-workload')].join(' ')";
    let told = browser.script(&format!("return (async () => {{ {script} }})()")).unwrap();
    assert_eq!(told, format!("basic 200 {}", WORKLOADS[1]));
}

fn slider_moves_by_keyboard(browser: &Browser) {
    browser.fill("#slider", "\u{e014}\u{e014}\u{e014}").unwrap(); // The right arrow, three times.
    let at = "return document.getElementById('compare').style.getPropertyValue('--at')";
    assert_eq!(browser.script(at).unwrap(), "53%");
}

fn refused_in_words(browser: &Browser, pictures: &Pictures) {
    for (file, words) in [
        (
            "text.txt",
            "That is not a picture “text.txt” cannot be used. Please choose a JPEG, PNG or WebP file.",
        ),
        ("large.png", "The picture is too large “large.png” has 50 MB; at most 10 MB are accepted."),
    ] {
        choose(browser, &pictures.path(file));
        browser.wait_for("!document.getElementById('error').hidden").unwrap();
        assert_eq!(shown(browser, "#error"), words);
        let in_sight = "const box = document.getElementById('error').getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight";
        assert_eq!(browser.script(in_sight).unwrap(), true, "{file}: the error is in sight");
    }
    // Called a picture, so that only the service can tell.
    for (file, words) in [
        (
            "text.jpg",
            "That is not a picture This file cannot be read as a picture. Please use a JPEG, PNG or WebP file.",
        ),
        (
            "bomb.png",
            "The picture is too large This file has too many pixels; at most 40 million are accepted.",
        ),
    ] {
        choose(browser, &pictures.path(file));
        browser.wait_for("document.getElementById('error').hidden").unwrap();
        browser.click("#go").unwrap();
        browser.wait_for("!document.getElementById('error').hidden").unwrap();
        assert_eq!(shown(browser, "#error"), words);
    }
}

fn failures_are_explained(browser: &Browser, application: &mut Application, pictures: &Pictures) {
    (0..2).for_each(|endpoint| application.kill_endpoint(1, endpoint));
    choose(browser, &pictures.path("pytorch.png"));
    browser.wait_for("document.getElementById('error').hidden").unwrap();
    browser.click("#go").unwrap();
    browser.wait_for("!document.getElementById('error').hidden").unwrap();
    let told = shown(browser, "#error");
    assert!(
        told.starts_with("Not available now No model server for pt-style-transfer is available"),
        "{told}"
    );
}
