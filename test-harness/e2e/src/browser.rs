//! Headless Chromium through WebDriver (W3C WebDriver, sections 8 to 14).

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Protocol, send};
use crate::error::Error;
use crate::ports::free_ports;
use crate::process::{self, Process};
use crate::request::Request;

/// How long the driver may take to listen, and the browser to start or to load a page, on a loaded machine.
const BOUND: Duration = Duration::from_secs(90);
/// How often a page is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(20);
/// What the specification calls the member that an element's name is in.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Chromium and its driver, named by `CHROMIUM` and `CHROMEDRIVER`, which `cargo xtask` sets.
pub fn chromium() -> Option<(PathBuf, PathBuf)> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("CHROMIUM").zip(named("CHROMEDRIVER"))
}

/// A browser with a profile of its own. It is ended when dropped.
pub struct Browser {
    _driver: Process,
    address: SocketAddr,
    session: String,
}

impl Browser {
    /// Starts a browser with a fresh profile.
    ///
    /// # Errors
    /// If the driver or the browser does not start in time.
    pub fn start(chromium: &Path, driver: &Path) -> Result<Self, Error> {
        Self::start_with(chromium, driver, &[])
    }

    /// As [`start`](Self::start), with further arguments for Chromium.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(chromium: &Path, driver: &Path, more: &[&str]) -> Result<Self, Error> {
        let port = free_ports(1)?.pop().unwrap_or_default();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let directory = process::directory("chromium")?;
        let profile = directory.path().join("profile");
        let mut command = Command::new(driver);
        command.arg(format!("--port={port}")).env("TMPDIR", directory.path()).env("HOME", directory.path());
        let mut process = Process::start("chromedriver", command, directory)?;
        process.wait("not listening", BOUND, |_| TcpStream::connect(address).ok())?;
        let mut browser = Self { _driver: process, address, session: String::new() };
        let profile = format!("--user-data-dir={}", profile.display());
        let mut arguments = vec![
            "--headless",
            // Chromium's sandbox does not work as root, and continuous integration often runs as root.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--no-proxy-server",
            &profile,
        ];
        arguments.extend(more);
        let options = json!({"binary": chromium, "args": arguments});
        let session = browser.call(
            "POST",
            "/session",
            &json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}),
        )?;
        let id = session["sessionId"].as_str().unwrap_or_default();
        browser.session = format!("/session/{id}");
        Ok(browser)
    }

    /// Opens an address and waits until the page has been loaded, redirects and all.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn open(&self, url: &str) -> Result<(), Error> {
        self.session("POST", "/url", &json!({"url": url})).map(drop)
    }

    /// The address of the page that is shown.
    ///
    /// # Errors
    /// If the browser is gone.
    pub fn url(&self) -> Result<String, Error> {
        Ok(self.session("GET", "/url", &Value::Null)?.as_str().unwrap_or_default().to_owned())
    }

    /// The text of the page that is shown.
    ///
    /// # Errors
    /// If the browser is gone.
    pub fn text(&self) -> Result<String, Error> {
        let script = json!({"script": "return document.body ? document.body.innerText : ''", "args": []});
        Ok(self.session("POST", "/execute/sync", &script)?.as_str().unwrap_or_default().to_owned())
    }

    /// What a script of the page's own gets by `fetch`: status and body.
    ///
    /// # Errors
    /// If the browser is gone.
    pub fn fetch(&self, path: &str, headers: &Value) -> Result<(u64, String), Error> {
        let script = "const done = arguments[2]; fetch(arguments[0], {headers: arguments[1]})\
            .then(async (answer) => done([answer.status, await answer.text()]), (error) => done([0, String(error)]))";
        let answer =
            self.session("POST", "/execute/async", &json!({"script": script, "args": [path, headers]}))?;
        Ok((answer[0].as_u64().unwrap_or(0), answer[1].as_str().unwrap_or_default().to_owned()))
    }

    /// What a script of the test's returns, or, if that is a promise, what it resolves to.
    ///
    /// # Errors
    /// If the browser is gone, or the script fails.
    pub fn script(&self, script: &str) -> Result<Value, Error> {
        self.session("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until a script, an expression, is true.
    ///
    /// # Errors
    /// If it is not in time: with what is shown instead.
    pub fn wait_for(&self, expression: &str) -> Result<(), Error> {
        let deadline = Instant::now() + BOUND;
        // Between two pages there is no document to query.
        while self.script(&format!("return Boolean({expression})")).ok() != Some(Value::Bool(true)) {
            if Instant::now() > deadline {
                let what = format!("{expression} is not so on {}: {:?}", self.url()?, self.text()?);
                return Err(Error::TimedOut { what, bound: BOUND, log: String::new() });
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Types into the element of a CSS selector.
    ///
    /// # Errors
    /// If there is none.
    pub fn fill(&self, selector: &str, text: &str) -> Result<(), Error> {
        let element = self.element(selector)?;
        self.session("POST", &format!("/element/{element}/value"), &json!({"text": text})).map(drop)
    }

    /// Clicks the element of a CSS selector.
    ///
    /// # Errors
    /// If there is none.
    pub fn click(&self, selector: &str) -> Result<(), Error> {
        let element = self.element(selector)?;
        self.session("POST", &format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Waits until the page that is shown has this text.
    ///
    /// # Errors
    /// If it has not in time: with what is shown instead.
    pub fn wait_for_text(&self, text: &str) -> Result<(), Error> {
        let deadline = Instant::now() + BOUND;
        loop {
            // Between two pages there is no document to query.
            let shown = self.text().unwrap_or_default();
            if shown.contains(text) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let what = format!("no {text:?} on {}, but {shown:?}", self.url()?);
                return Err(Error::TimedOut { what, bound: BOUND, log: String::new() });
            }
            std::thread::sleep(POLL);
        }
    }

    /// The cookies of the page that is shown, as the specification writes them.
    ///
    /// # Errors
    /// If the browser is gone.
    pub fn cookies(&self) -> Result<Vec<Value>, Error> {
        Ok(self.session("GET", "/cookie", &Value::Null)?.as_array().cloned().unwrap_or_default())
    }

    /// Sets a cookie for the page that is shown.
    ///
    /// # Errors
    /// If the browser refuses it.
    pub fn set_cookie(&self, cookie: &Value) -> Result<(), Error> {
        self.session("POST", "/cookie", &json!({"cookie": cookie})).map(drop)
    }

    fn element(&self, selector: &str) -> Result<String, Error> {
        let found = self.session("POST", "/element", &json!({"using": "css selector", "value": selector}))?;
        Ok(found[ELEMENT].as_str().unwrap_or_default().to_owned())
    }

    fn session(&self, method: &str, path: &str, body: &Value) -> Result<Value, Error> {
        self.call(method, &format!("{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, Error> {
        let request = match method {
            "POST" => Request::post(path, body.to_string()).header("content-type", "application/json"),
            _ => Request::new(method, path),
        };
        let request = Request { authority: self.address.to_string(), ..request.patience(BOUND) };
        let answer = send(Protocol::Http1, self.address, &request)?.complete()?;
        if answer.status() == 200 {
            return Ok(answer.json()?["value"].take());
        }
        Err(Error::Protocol(format!("{method} {path}: {} {}", answer.status(), answer.text())))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser, of which only the driver knows the process; then the driver ends.
        if !self.session.is_empty() {
            let _ = self.call("DELETE", &self.session, &Value::Null);
        }
    }
}
