//! HBONE's end at the pods, where a cluster has ztunnel: one stock Envoy that terminates it at port 15008 of every pod.
//!
//! A pod may come and go at any time: Envoy takes its listeners and clusters from files, which are replaced whole. Who
//! called which pod is in its access log ([`Redirect::calls`]). What else ztunnel does, to enforce the policies of pods
//! and to keep the caller's address, does not happen here.

mod config;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{Envoy, Options, Request, h1};
use tempfile::TempDir;

use crate::hbone::Identity;
use config::{CDS, Files, LDS};

/// Where Istio's proxies expect HBONE at a pod.
pub const HBONE_PORT: u16 = 15008;

/// How long Envoy may take to follow its files, or to write its log.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(20);
/// How long a read of the admin endpoint may take.
const ADMIN_PATIENCE: Duration = Duration::from_secs(10);
/// Seconds for which a removed pod's connections go on; then they are closed.
const DRAIN: &str = "1";
/// How often Envoy writes its access log, in milliseconds.
const FLUSH: &str = "50";

/// A pod that is reached by HBONE.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its address, which this machine must have.
    pub ip: IpAddr,
    /// Where its containers listen, at that address.
    pub ports: Vec<u16>,
    /// Its service account's. Callers must have a certificate that its roots vouch for.
    pub identity: Identity,
}

/// A CONNECT that a pod was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The pod's address.
    pub pod: IpAddr,
    /// The port that was asked for; `None` if the authority names none, and was refused.
    pub port: Option<u16>,
    /// The SPIFFE id in the caller's certificate.
    pub peer: String,
    /// The address that the caller connected from.
    pub source: IpAddr,
}

/// By their addresses.
type Pods = BTreeMap<IpAddr, Pod>;

/// The Envoy. It is ended when dropped.
pub struct Redirect {
    port: u16,
    directory: TempDir,
    state: Mutex<State>,
}

struct State {
    envoy: Envoy,
    files: Files,
    pods: Pods,
    version: u64,
}

impl Redirect {
    /// Starts `envoy` without pods. `port` is where it ends HBONE at each: [`HBONE_PORT`], for Istio's proxies.
    ///
    /// # Errors
    /// If it doesn't start.
    pub fn start(envoy: &Path, port: u16) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("redirect-").tempdir().context("make a directory")?;
        let files = Files::new(directory.path())?;
        files.write_clusters(0, &BTreeSet::new())?;
        files.write_listeners(0, port, &Pods::new())?;
        let drain = ["--drain-time-s", DRAIN, "--drain-strategy", "immediate"];
        let arguments = drain.into_iter().chain(["--file-flush-interval-msec", FLUSH]);
        let options = Options {
            log_level: "warning".into(),
            working_directory: directory.path().to_owned(),
            arguments: arguments.map(str::to_owned).collect(),
            ..Options::default()
        };
        let envoy =
            Envoy::start(envoy, &files.bootstrap(), &options).context("start the Envoy at the pods")?;
        Ok(Self { port, directory, state: State { envoy, files, pods: Pods::new(), version: 0 }.into() })
    }

    /// Ends HBONE for a pod, in place of one of the same address if there is one. It can be called when this returns.
    ///
    /// # Errors
    /// If Envoy refuses, because this machine doesn't have the address for example; all is then as before.
    pub fn add(&self, pod: Pod) -> Result<()> {
        let what = format!("end HBONE for the pod {}", pod.ip);
        self.change(|pods| drop(pods.insert(pod.ip, pod))).context(what)
    }

    /// Ends HBONE for a pod no longer. When this returns, its connections are closed, and its port refuses new ones
    /// unless another process has a wildcard listener there, as a waypoint has.
    ///
    /// # Errors
    /// If there is no such pod, or Envoy does not follow.
    pub fn remove(&self, ip: IpAddr) -> Result<()> {
        let known = self.state().pods.contains_key(&ip);
        ensure!(known, "remove the pod {ip}: it was not added, or has been removed");
        self.change(|pods| drop(pods.remove(&ip))).with_context(|| format!("remove the pod {ip}"))
    }

    /// As [`remove`](Self::remove), for every pod at once: their connections end together.
    ///
    /// # Errors
    /// If Envoy does not follow.
    pub fn clear(&self) -> Result<()> {
        self.change(Pods::clear).context("remove all pods")
    }

    /// The pods' addresses, in order.
    pub fn pods(&self) -> Vec<IpAddr> {
        self.state().pods.keys().copied().collect()
    }

    /// Every CONNECT so far, oldest first. One that its caller has got an answer to is among them.
    ///
    /// # Errors
    /// If Envoy has ended, or does not write its log.
    pub fn calls(&self) -> Result<Vec<Call>> {
        const BUFFERED: &str = "filesystem.write_total_buffered";
        self.state().wait("its access log is not written", |stats| {
            (stats.read(BUFFERED)?.get(BUFFERED) == "0").then_some(())
        })?;
        let log = match fs::read_to_string(config::access_log(self.directory.path())) {
            // There has been no pod yet.
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            log => log.context("read the access log")?,
        };
        // What comes after the last line's end is still being written.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().map(|line| read_call(line).with_context(|| format!("access log: {line:?}"))).collect()
    }

    /// What Envoy has logged.
    pub fn log(&self) -> String {
        self.state().envoy.log()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Pods)) -> Result<()> {
        let mut state = self.state();
        let before = state.pods.clone();
        change(&mut state.pods);
        let changed = state.publish(self.port, &before);
        if changed.is_err() {
            let refused = mem::replace(&mut state.pods, before);
            // The error that counts is the first.
            let _ = state.publish(self.port, &refused);
        }
        changed
    }
}

impl State {
    /// Has Envoy follow. Clusters are there before the listeners that name them, and for as long.
    fn publish(&mut self, port: u16, before: &Pods) -> Result<()> {
        let after = targets(&self.pods);
        let both = &targets(before) | &after;
        self.follow(CDS, |state| state.files.write_clusters(state.version, &both))?;
        self.follow(LDS, |state| state.files.write_listeners(state.version, port, &state.pods))?;
        self.wait_for_listeners()?;
        if both == after {
            return Ok(());
        }
        self.follow(CDS, |state| state.files.write_clusters(state.version, &after))
    }

    /// Has a file of `source` written, and waits until Envoy has taken it.
    fn follow(&mut self, source: &str, write: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let (rejections, newest) = (format!("{source}.update_rejected"), format!("{source}.version_text"));
        let rejected = move |stats: &Stats| stats.get(&rejections).parse::<u64>().unwrap_or(0);
        let before = rejected(&self.wait("no statistics", |stats| stats.read(source))?);
        self.version += 1;
        write(self)?;
        let version = format!("\"{}\"", self.version);
        let taken = self.wait("it has not taken its new file", |stats| {
            let stats = stats.read(source)?;
            let taken = stats.get(&newest) == version;
            (taken || rejected(&stats) > before).then_some(taken)
        })?;
        ensure!(taken, "Envoy refuses its new file:\n{}", self.envoy.process().last_lines());
        Ok(())
    }

    /// Waits until every pod's listener accepts connections, and removed ones have closed theirs.
    fn wait_for_listeners(&mut self) -> Result<()> {
        let expected = self.pods.len().to_string();
        self.wait("its listeners are not as its file says", |stats| {
            let stats = stats.read("listener_manager.total_listeners")?;
            let count = |kind| stats.get(&format!("listener_manager.total_listeners_{kind}"));
            let settled = count("warming") == "0" && count("draining") == "0" && count("active") == expected;
            settled.then_some(())
        })
    }

    fn wait<T>(&mut self, what: &str, mut ready: impl FnMut(&Admin) -> Option<T>) -> Result<T> {
        let admin = Admin(self.envoy.admin());
        Ok(self.envoy.process().wait(what, FOLLOWED_WITHIN, |_| ready(&admin))?)
    }
}

/// Envoy's admin endpoint.
struct Admin(SocketAddr);

/// Lines of `NAME: VALUE`.
struct Stats(String);

impl Admin {
    /// The statistics whose names begin with `prefix`, if Envoy answers.
    fn read(&self, prefix: &str) -> Option<Stats> {
        let request = Request::get(&format!("/stats?filter=^{prefix}"));
        let answer = h1::Connection::open(self.0, ADMIN_PATIENCE).ok()?.send(&request).ok()?;
        (answer.status() == 200).then(|| Stats(answer.text()))
    }
}

impl Stats {
    /// As text; empty if it is missing.
    fn get(&self, name: &str) -> &str {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
    }
}

/// What the pods listen on.
fn targets(pods: &Pods) -> BTreeSet<SocketAddr> {
    pods.values().flat_map(|pod| pod.ports.iter().map(|&port| SocketAddr::new(pod.ip, port))).collect()
}

/// A line of the access log.
fn read_call(line: &str) -> Result<Call> {
    let fields: Vec<&str> = line.split('\t').collect();
    let &[pod, authority, peer, source] = fields.as_slice() else {
        bail!("{} fields instead of 4", fields.len());
    };
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    Ok(Call {
        pod: pod.parse().context("the pod's address")?,
        port,
        peer: peer.into(),
        source: source.parse().context("the caller's address")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_access_log_says_who_called_whom() {
        let call =
            read_call("10.244.0.7\t10.244.0.7:8080\tspiffe://cluster.local/ns/a/sa/b\t10.244.0.2").unwrap();
        assert_eq!((call.pod.to_string(), call.port), ("10.244.0.7".into(), Some(8080)));
        assert_eq!(
            (call.peer.as_str(), call.source.to_string()),
            ("spiffe://cluster.local/ns/a/sa/b", "10.244.0.2".into())
        );
        assert_eq!(read_call("fd00::7\t[fd00::7]:80\t-\tfd00::2").unwrap().port, Some(80));
    }

    #[test]
    fn a_value_is_that_of_the_whole_name() {
        let stats = Stats("a.b_c: 1\na.b: 2\na.version_text: \"7\"\n".into());
        assert_eq!((stats.get("a.b"), stats.get("a.version_text"), stats.get("a")), ("2", "\"7\"", ""));
    }
}
