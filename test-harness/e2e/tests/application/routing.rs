//! Who paints whose picture, by agents that keep cookies. Small networks of the repository's own stand in for the real
//! ones.

use crate::pictures::Pictures;
use e2e::agent::Agent;
use e2e::application::{Application, Form, GROUPS, Parts, WORKLOADS, form, form_to, sample};
use e2e::{Answer, Protocol, Request, send};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

const USERS: [&str; 2] = ["premium-user", "basic-user"];

pub(crate) fn forgeries_change_nothing(parts: &Parts, how: Form) {
    let application = Application::start(parts, how).unwrap();
    let mut basic = application.log_in("basic-user").unwrap();
    for forged in [
        &["user_class"][..],
        &["User-Class"],
        &["x-user-class"],
        &["user_class", "user_class"],
        &["USER_CLASS", "user-class"],
        &["x-model-format-tensorflow"],
        &["x-id-token"],
        &["authorization"],
    ] {
        let request = forged.iter().fold(picture(), |form, name| form.header(name, "premium"));
        is_by(&application, &application.style(&mut basic, request).unwrap(), 1, &format!("{forged:?}"));
    }
    // A premium user's tokens, sent beside a basic user's session.
    let tokens = application.provider.tokens("premium-user").unwrap();
    for (name, value) in
        [("x-id-token", tokens.id.clone()), ("authorization", format!("Bearer {}", tokens.access))]
    {
        let answer = application.style(&mut basic, picture().header(name, value)).unwrap();
        is_by(&application, &answer, 1, name);
    }
    let answer = application.style(&mut Agent::default(), picture().header("user_class", "premium")).unwrap();
    assert_eq!(answer.status(), 401, "{}", answer.text());

    // From inside, past the gateway: only a premium user's token is believed.
    let waypoint = application.waypoint().unwrap();
    let inside = || form_to("/transfer", &harbour(), None).header("user_class", "premium");
    let basic_token = application.provider.tokens("basic-user").unwrap().id;
    for (what, request, class) in [
        ("no token", inside(), 1),
        ("a basic user's", inside().header("x-id-token", &basic_token), 1),
        ("a token for the API", inside().header("x-id-token", &tokens.access), 1),
        ("as a bearer token", inside().header("authorization", format!("Bearer {}", tokens.id)), 1),
        ("a premium user's", inside().header("x-id-token", &tokens.id), 0),
    ] {
        let answer = send(Protocol::Http1, waypoint, &request).unwrap();
        is_by(&application, &answer, class, what);
    }
}

/// A hundred pictures of each user, both at once. In the middle one endpoint of each group is killed.
pub(crate) fn killed_endpoints_lose_no_picture(parts: &Parts, how: Form) {
    const EACH: usize = 100;
    // The tensor is as large as ever; reading and writing the picture takes less.
    let small = sample("style-mosaic.jpg").unwrap();
    let application = Application::start(parts, how).unwrap();
    let agents = USERS.map(|user| application.log_in(user).unwrap());
    let application = Mutex::new(application);
    let (half, endpoints) = (Barrier::new(USERS.len() + 1), AtomicUsize::new(0));
    let paint = |class: usize, mut agent: Agent| {
        let gateway = application.lock().unwrap().gateway().unwrap();
        let mut seen = [Vec::new(), Vec::new()];
        for number in 0..EACH {
            if number == EACH / 2 {
                half.wait();
            }
            // Not under the lock: a picture is under way when the endpoint is killed.
            let request = form(&small, None).header("x-requested-with", "XMLHttpRequest");
            let authority = format!("localhost:{}", gateway.port());
            let answer = agent.send(gateway, Request { authority, ..request }).unwrap();
            let application = application.lock().unwrap();
            let endpoint = is_by(&application, &answer, class, &format!("picture {number}"));
            seen[usize::from(number >= EACH / 2)].push(endpoint);
        }
        seen[0].sort();
        seen[0].dedup();
        endpoints.fetch_add(seen[0].len(), Ordering::Relaxed);
    };
    thread::scope(|scope| {
        for (class, agent) in agents.into_iter().enumerate() {
            let paint = &paint;
            scope.spawn(move || paint(class, agent));
        }
        half.wait();
        let mut application = application.lock().unwrap();
        (0..GROUPS.len()).for_each(|group| application.kill_endpoint(group, 0));
    });
    assert_eq!(endpoints.into_inner(), 4, "both endpoints of both groups had work in the first half");
    let mut application = application.into_inner().unwrap();
    // A picture that an endpoint was killed over is asked for once more; else each was asked for once.
    for (group, asked) in GROUPS.iter().zip(application.asked()) {
        assert!((EACH..=EACH + 2).contains(&asked), "{group} was asked {asked} times for {EACH} pictures");
    }

    // A group without endpoints: the user is told, and the other group goes on.
    application.kill_endpoint(1, 1);
    let mut basic = application.log_in("basic-user").unwrap();
    let answer = application.style(&mut basic, picture()).unwrap();
    assert_eq!(answer.status(), 503, "{}", answer.text());
    let words = answer.json().unwrap()["error"].as_str().unwrap().to_owned();
    assert!(words.starts_with("No model server for pt-style-transfer is available"), "{words}");
    let mut premium = application.log_in("premium-user").unwrap();
    let answer = application.style(&mut premium, picture()).unwrap();
    is_by(&application, &answer, 0, "the other group");
}

pub(crate) fn refusals(parts: &Parts, how: Form) {
    let application = Application::start(parts, how).unwrap();
    let pictures = Pictures::make(parts);
    let mut basic = application.log_in("basic-user").unwrap();
    let cut_off = pictures.bytes("pytorch.png").split_off(2000);
    let half = pictures.bytes("pytorch.png")[..20_000].to_vec();
    for (what, request, status, words) in [
        ("a text", form(&pictures.bytes("text.jpg"), None), 415, "cannot be read as a picture"),
        ("a picture without its beginning", form(&cut_off, None), 415, "cannot be read as a picture"),
        ("half a picture", form(&half, None), 415, "cannot be read as a picture"),
        ("50 MB", form(&pictures.bytes("large.png"), None), 413, "at most 10 MB are accepted"),
        ("50 MB of unknown length", form(&pictures.bytes("large.png"), None).chunked(), 413, "at most 10 MB"),
        ("a bomb", form(&pictures.bytes("bomb.png"), None), 413, "at most 40 million are accepted"),
        ("nothing", form(b"", None), 400, "There is no picture"),
        ("no form", Request::post("/api/picture", "x"), 415, "as a form"),
        ("a broken form", broken_form(), 400, "The form cannot be read"),
        ("another path", Request::get("/nowhere"), 404, "Not Found"),
    ] {
        let answer = application.style(&mut basic, request).unwrap();
        assert_eq!(answer.status(), status, "{what}: {}", answer.text());
        let told = answer.json().unwrap()["error"].as_str().unwrap().to_owned();
        assert!(told.contains(words), "{what}: {told}");
    }
    assert_eq!(application.asked(), [0, 0], "none of it has reached a model");
    is_by(&application, &application.style(&mut basic, picture()).unwrap(), 1, "afterwards");
    let [eight, sixteen] = ["grey.png", "grey-of-16-bits.png"].map(|name| {
        let answer = application.style(&mut basic, form(&pictures.bytes(name), None)).unwrap();
        is_by(&application, &answer, 1, name);
        answer.body
    });
    assert!(eight == sixteen, "greys of 16 bits are the same greys");
}

/// What a form of another boundary, or a compressed one, looks like to its reader.
fn broken_form() -> Request {
    Request::post("/api/picture", "--y\r\n").header("content-type", "multipart/form-data; boundary=x")
}

fn harbour() -> Vec<u8> {
    sample("harbour.jpg").unwrap()
}

fn picture() -> Request {
    form(&harbour(), None)
}

/// Asserts that the workload and the group of this class have answered; the endpoint.
fn is_by(application: &Application, answer: &Answer, class: usize, what: &str) -> String {
    assert_eq!(answer.status(), 200, "{what}: {}\n{}", answer.text(), application.service_logs());
    let answered = application.answered(answer);
    assert_eq!((answered.workload.as_str(), answered.group), (WORKLOADS[class], GROUPS[class]), "{what}");
    answered.endpoint
}
