//! A place of its own: user, network, mount and process namespaces, made without root.
//!
//! [`run`] runs this program once more inside them. There it is process 1: whatever it started ends with it, and the
//! addresses that it uses exist nowhere else. EndpointSlices refuse loopback addresses, which is why pods have
//! addresses of a cluster's usual range, each of them on the loopback device of this namespace.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use keeper::Kept;
use tokio::signal::unix::{SignalKind, signal};

use crate::front::Front;

/// Tells the program that it has been started inside. Its value is the directory that it may fill.
const INSIDE: &str = "MESH_PLACE";
/// The file with the process, as it is known outside, that has the namespaces in which this program is.
const OUTER: &str = "pid";
/// The file that says that what was asked for is done, and that what runs is only for its user.
const STAYS: &str = "stays";
/// How often the end of what runs inside is looked for.
const POLL: Duration = Duration::from_millis(50);
/// Where names are asked for, as `/etc/resolv.conf` says inside.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

/// The namespaces that this program is in.
pub struct Place {
    directory: PathBuf,
    hosts: Arc<Mutex<BTreeMap<String, IpAddr>>>,
    addresses: Mutex<u16>,
}

/// What a `main` of a program of the mesh is: everything that `inside` does happens inside. SIGINT and SIGTERM end it.
pub fn run(inside: impl FnOnce(Place) -> Result<ExitCode>) -> ExitCode {
    keeper::stand_in();
    let ran = Place::inside().and_then(|place| match place {
        None => outside(),
        Some(place) => inside(place),
    });
    ran.unwrap_or_else(|error| {
        eprintln!("mesh: {error:#}");
        ExitCode::FAILURE
    })
}

/// Starts this program once more inside, and ends it with this one.
fn outside() -> Result<ExitCode> {
    let directory = tempfile::Builder::new().prefix("mesh-").tempdir().context("make a directory")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _front = Front::open(runtime.handle(), directory.path())?;
    let mut inner = enter(directory.path())?;
    let outer = directory.path().join(OUTER);
    fs::write(&outer, inner.pid().to_string()).with_context(|| format!("write {}", outer.display()))?;
    let status = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            if let Some(status) = inner.try_wait()? {
                return Ok::<_, std::io::Error>(Some(status));
            }
            tokio::select! {
                _ = interrupt.recv() => return Ok(None),
                _ = terminate.recv() => return Ok(None),
                () = tokio::time::sleep(POLL) => {}
            }
        }
    });
    match status.context("wait for the mesh")? {
        Some(status) if status.success() => Ok(ExitCode::SUCCESS),
        Some(_) => Ok(ExitCode::FAILURE),
        None => {
            println!("\nEnding the mesh.");
            inner.end().context("end the mesh")?;
            // Ctrl-C is how what only runs is ended, but before that it leaves what was asked for undone.
            let undone = !directory.path().join(STAYS).exists();
            Ok(if undone { ExitCode::from(130) } else { ExitCode::SUCCESS })
        }
    }
}

/// This program inside namespaces of its own, started with the same arguments. `directory` is there for its files.
fn enter(directory: &Path) -> Result<Kept> {
    let program = std::env::current_exe().context("find this program's own file")?;
    let mut command = Command::new("unshare");
    command.args(["-Urnmpf", "--kill-child", "--mount-proc"]).arg(program).args(std::env::args_os().skip(1));
    command.env(INSIDE, directory).env("TMPDIR", directory);
    // A proxy of the machine's is out of reach inside, where everything is local.
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    Kept::start(&mut command, Stdio::inherit(), Stdio::inherit()).context(
        "run unshare (package util-linux), which makes the namespaces that the control plane runs in",
    )
}

impl Place {
    /// The place, if this program was started by [`run`]: with its loopback device up, its own files over those of
    /// the machine that name hosts and authorities, and an empty `/var/lib/istio/data`.
    ///
    /// # Errors
    /// If a device or mount is refused.
    fn inside() -> Result<Option<Self>> {
        let Some(directory) = std::env::var_os(INSIDE) else { return Ok(None) };
        let place = Self { directory: directory.into(), hosts: Arc::default(), addresses: Mutex::new(1) };
        call("ip", &["link", "set", "lo", "up"])?;
        place.name("localhost", Ipv4Addr::LOCALHOST.into())?;
        place.over("/etc/hosts", "hosts")?;
        place.write("resolv.conf", format!("nameserver {RESOLVER}\noptions timeout:1 attempts:2\n"))?;
        place.over("/etc/resolv.conf", "resolv.conf")?;
        // The agent's cache of modules has no other place than this. Without it every request that needs a module is
        // denied.
        let data = Path::new("/var/lib/istio");
        let empty = if data.is_dir() { data } else { Path::new("/var/lib") };
        let program = std::env::current_exe().context("find this program's own file")?;
        let hidden = [place.directory.as_path(), &program].into_iter().find(|path| path.starts_with(empty));
        if let Some(hidden) = hidden {
            bail!(
                "{} would be hidden by the agent's cache: run this outside {}",
                hidden.display(),
                empty.display()
            );
        }
        call("mount", &["-t", "tmpfs", "tmpfs", &empty.to_string_lossy()])?;
        fs::create_dir_all(data.join("data")).context("make /var/lib/istio/data")?;
        Ok(Some(place))
    }

    /// Where files may be put.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What a command begins with that is to run in this place, started from outside. Of the machine's files it sees all
    /// but those that the place has put its own over.
    ///
    /// # Errors
    /// If [`run`] has not started this.
    pub fn entered(&self) -> Result<String> {
        let outer = self.directory.join(OUTER);
        let pid = fs::read_to_string(&outer).with_context(|| format!("read {}", outer.display()))?;
        Ok(format!("nsenter --preserve-credentials -t {pid} -U -n -m"))
    }

    /// Goes on until the program is ended, with all that is there: what was asked for is done.
    ///
    /// # Errors
    /// If that cannot be noted.
    pub fn stay(&self) -> Result<Infallible> {
        self.write(STAYS, "")?;
        loop {
            thread::park();
        }
    }

    /// Writes a file of the place's own; where it is.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Puts one of the place's files over a file of the machine, which outside stays as it is.
    ///
    /// # Errors
    /// If there is no such file to put it over, or the mount is refused.
    pub fn over(&self, target: &str, name: &str) -> Result<()> {
        let path = self.directory.join(name);
        ensure!(
            Path::new(target).exists(),
            "{target} does not exist: create it (it is replaced inside the namespaces only)"
        );
        call("mount", &["--bind", &path.to_string_lossy(), target])
    }

    /// The next address of a pod, which from now on can be bound.
    ///
    /// # Errors
    /// If the address is refused, or none is left.
    pub fn address(&self) -> Result<IpAddr> {
        let mut last = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(*last < 0xfffe, "all addresses of the pods' range are in use");
        *last += 1;
        let [third, fourth] = last.to_be_bytes();
        let address = Ipv4Addr::new(10, 244, third, fourth);
        call("ip", &["addr", "add", &format!("{address}/32"), "dev", "lo"])?;
        Ok(address.into())
    }

    /// The names given so far and later, for a DNS server.
    pub fn names(&self) -> impl Fn(&str) -> Option<IpAddr> + Send + Sync + use<> {
        let hosts = Arc::clone(&self.hosts);
        move |name| hosts.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Has connections to an address, a Service's virtual one, come to this machine, for a listener there.
    ///
    /// # Errors
    /// If the address is refused.
    pub fn take(&self, address: IpAddr) -> Result<()> {
        call("ip", &["addr", "replace", &format!("{address}/32"), "dev", "lo"])
    }

    /// Lets every program find `name` at `address`.
    ///
    /// # Errors
    /// If the file of hosts cannot be written.
    pub fn name(&self, name: &str, address: IpAddr) -> Result<()> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.insert(name.to_owned(), address);
        // In place: the file is mounted elsewhere, too.
        let lines: String = hosts.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        self.write("hosts", lines).map(drop)
    }
}

fn call(program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = keeper::output(&mut command).with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
