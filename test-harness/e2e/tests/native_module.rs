//! The shipped native module as an artefact: what it needs, where it loads, and that its configurations keep apart on
//! several workers.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: libtest-mimic runs them.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use e2e::{
    Envoy, Installed, Listener, Options, Process, Protocol, Request, VERSIONS, dist, envoys, free_ports,
    gateway, send, unless_missing,
};
use libtest_mimic::{Arguments, Trial};
use object::Object as _;
use object::elf::{DT_NEEDED, FileHeader64, SHT_DYNSYM};
use object::endian::Endianness;
use object::read::elf::FileHeader as _;
use odd_server::{OddServer, Script, infer};
use testkit::Column;

const MODULE: &str = "libinference_filters.so";
const INFER: &str = "/v2/models/m/infer";
const BOUND: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    e2e::stand_in();
    let built = dist(MODULE).is_file();
    let needs_and_exports = || {
        needs_no_more_than_envoy_has();
        exports_envoys_hooks_alone();
        Ok(())
    };
    let mut trials = vec![unless_missing(
        Trial::test("the_module_needs_no_more_than_envoy_and_exports_its_hooks_alone", needs_and_exports),
        (!built).then_some("dist/"),
    )];
    let enter = way_into_a_root();
    for version in VERSIONS {
        let envoy = envoys().into_iter().find(|envoy| envoy.version == version && built);
        let needed = format!("ENVOY_{}", version.replace('.', ""));
        let missing = envoy.is_none().then_some(if built { &*needed } else { "dist/" });
        let other = envoy.clone();
        let bare = move || {
            envoy.zip(enter).inspect(|(envoy, enter)| loads_in_a_bare_root(envoy, enter));
            Ok(())
        };
        let name = format!("the_module_loads_where_only_envoys_own_libraries_are::{version}");
        let no_way = enter.is_none().then_some("chroot");
        trials.push(unless_missing(Trial::test(name, bare), missing.or(no_way)));
        let exporting = other.clone();
        let exports = move || {
            exporting.as_ref().inspect(|envoy| exports_what_the_facts_say(envoy, version));
            Ok(())
        };
        let name = format!("envoy_exports_each_function_from_the_version_on_that_the_facts_name::{version}");
        trials.push(unless_missing(Trial::test(name, exports), missing));
        let workers = move || {
            other.as_ref().inspect(|envoy| keep_apart(envoy));
            Ok(())
        };
        let name = format!("four_configurations_on_four_workers_do_not_mix::{version}");
        trials.push(unless_missing(Trial::test(name, workers), missing));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Every glibc has these; Envoy itself needs all of them, and more.
const ALLOWED: [&str; 5] = ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-"];

fn needs_no_more_than_envoy_has() {
    let bytes = fs::read(dist(MODULE)).unwrap();
    let header = FileHeader64::<Endianness>::parse(&*bytes).unwrap();
    let endian = header.endian().unwrap();
    let sections = header.sections(endian, &*bytes).unwrap();

    let dynamic = sections.dynamic_table(endian, &*bytes).unwrap();
    let needed = dynamic.iter().filter(|entry| entry.tag == DT_NEEDED);
    let needed: Vec<&str> =
        needed.map(|entry| std::str::from_utf8(dynamic.string(entry).unwrap()).unwrap()).collect();
    assert!(needed.contains(&"libc.so.6"), "{needed:?}");
    for library in &needed {
        assert!(ALLOWED.iter().any(|allowed| library.starts_with(allowed)), "needs {library}");
    }

    let versions = sections.versions(endian, &*bytes).unwrap().unwrap();
    let symbols = sections.symbols(endian, &*bytes, SHT_DYNSYM).unwrap();
    let mut newest = (0, 0);
    let mut wanted = 0;
    for (index, _) in symbols.enumerate() {
        let version = versions.version(versions.version_index(endian, index)).unwrap();
        let Some(version) = version else { continue };
        let name = std::str::from_utf8(version.name()).unwrap();
        let number = name.strip_prefix("GLIBC_").unwrap_or_else(|| panic!("needs {name}"));
        let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap());
        newest = newest.max((parts.next().unwrap(), parts.next().unwrap_or(0)));
        wanted += 1;
    }
    assert!(wanted > 20, "only {wanted} symbols of glibc: the versions are not read");
    assert!(newest <= (2, 28), "needs glibc {newest:?}");
}

fn exports_envoys_hooks_alone() {
    let hooks = facts("hooks").map(|(_, name)| format!("envoy_dynamic_module_on_{name}"));
    assert_eq!(exports_of(&dist(MODULE)), hooks.collect());
}

fn exports_of(file: &Path) -> BTreeSet<String> {
    let bytes = fs::read(file).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let exports = file.exports().unwrap();
    exports.iter().map(|export| String::from_utf8(export.name().to_vec()).unwrap()).collect()
}

/// What the module's host knows of Envoy's functions: the first version that has each, and its name without the prefix
/// that all have.
fn facts(section: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    const FACTS: &str = include_str!("../../../filters/hosts/dynamic-module/abi.facts");
    let (_, rest) = FACTS.split_once(&format!("[{section}]\n")).unwrap();
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('(').unwrap().0.split_once(' ').unwrap())
}

fn exports_what_the_facts_say(installed: &Installed, version: &str) {
    let exports = exports_of(&binary_of(installed));
    for (since, name) in facts("callbacks") {
        let exported = exports.contains(&format!("envoy_dynamic_module_callback_{name}"));
        assert_eq!(exported, since <= version, "{name}, of {since} according to the facts, in {version}");
    }
}

/// An Envoy that sees its binary, the libraries that it is linked with, the module and a bootstrap, and no other file.
fn loads_in_a_bare_root(installed: &Installed, enter: &[&str]) {
    let root = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &str| {
        let to = root.path().join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    let envoy = binary_of(installed);
    copy(&envoy, "/envoy");
    let libraries = libraries_of(&envoy);
    assert!(libraries.iter().any(|library| library.ends_with("libc.so.6")), "{libraries:?}");
    assert!(!libraries.iter().any(|library| library.to_string_lossy().contains("libgcc")), "{libraries:?}");
    for library in &libraries {
        copy(library, library.to_str().unwrap());
    }
    copy(&dist(MODULE), "/module.so");

    let server = echo_server();
    let port = free_ports(1).unwrap()[0];
    let bootstrap = gateway(&[Listener::new("in").transcoder(Column::Native, "{}")], server.address())
        .replace(dist(MODULE).to_str().unwrap(), "/module.so")
        .replace("port_value: 0 }", &format!("port_value: {port} }}"));
    fs::write(root.path().join("bootstrap.yaml"), bootstrap).unwrap();
    let mut command = Command::new(enter[0]);
    command.args(&enter[1..]).arg(root.path());
    command.args(["/envoy", "-c", "/bootstrap.yaml", "--disable-hot-restart", "--concurrency", "1"]);
    let mut process = Process::start("envoy in a bare root", command, tempfile::tempdir().unwrap()).unwrap();

    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let small = r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1.5,2.5]}]}"#;
    let answer = process
        .wait("no answer", BOUND, |_| send(Protocol::Http1, address, &Request::post(INFER, small)).ok());
    let answer = answer.unwrap().complete().unwrap();
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (
            200,
            r#"{"model_name":"m","outputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1.5,2.5]}]}"#
        )
    );
    let refused = send(Protocol::Http1, address, &Request::post(INFER, "[")).unwrap().complete().unwrap();
    assert_eq!(refused.status(), 400, "{}", refused.text());
    assert!(refused.json().unwrap()["error"].is_string(), "{}", refused.text());
    process.stop().unwrap();
}

/// What runs a program in another root, as the words before that root.
fn way_into_a_root() -> Option<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [&["chroot"], &["unshare", "--user", "--map-root-user", "chroot"]];
    WAYS.into_iter().find(|way| {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).args(["/", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// The program itself: what is installed may be a script that becomes it.
fn binary_of(installed: &Installed) -> PathBuf {
    let mut running = Envoy::start(&installed.path, "{}", &Options::default()).unwrap();
    let process = running.process();
    fs::read_link(format!("/proc/{}/exe", process.pid())).unwrap()
}

/// The shared objects that a program is started with, its loader included, as the loader itself lists them.
fn libraries_of(program: &Path) -> BTreeSet<PathBuf> {
    let output = Command::new(program).env("LD_TRACE_LOADED_OBJECTS", "1").output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    list.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn echo_server() -> OddServer {
    let server = OddServer::start().unwrap();
    server.compute_default(|request| {
        let message = request.messages().ok().and_then(|messages| messages.into_iter().next());
        match message.map(|message| infer::echo(&message.bytes)) {
            Some(Ok(answer)) => Script::message(&answer),
            _ => Script::trailers_only(3, "no inference"),
        }
    });
    server
}

/// Configurations by the listener that has each, and what is particular to its answer to the number 7.
const CONFIGURATIONS: [(&str, &str, u16, &str); 4] = [
    ("plain", "{}", 200, r#""datatype":"UINT32","shape":[1],"data":[7]"#),
    ("proto", r#"{"answer_form": "proto"}"#, 200, r#""raw_output_contents":["BwAAAA=="]"#),
    (
        "typed",
        r#"{"answer_form": "proto", "tensor_encoding": "contents"}"#,
        200,
        r#""contents":{"uint_contents":[7]}"#,
    ),
    ("small", r#"{"max_request_bytes": 16}"#, 413, r#""error":"the body is larger than 16 bytes""#),
];
const CLIENTS: usize = 4;
const ROUNDS: usize = 40;

fn keep_apart(installed: &Installed) {
    let server = echo_server();
    let listeners =
        CONFIGURATIONS.map(|(name, config, ..)| Listener::new(name).transcoder(Column::Native, config));
    let options = Options { concurrency: 4, ..Options::default() };
    let mut envoy = Envoy::start(&installed.path, &gateway(&listeners, server.address()), &options).unwrap();
    let clients: Vec<_> = CONFIGURATIONS
        .iter()
        .flat_map(|configuration| std::iter::repeat_n(configuration, CLIENTS))
        .map(|(name, _, status, part)| {
            let address = envoy.address(name).unwrap();
            // Each request is a connection of its own, for the kernel to give to any worker.
            std::thread::spawn(move || {
                for _ in 0..ROUNDS {
                    let body = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"UINT32","data":[7]}]}"#;
                    let answer = send(Protocol::Http1, address, &Request::post(INFER, body)).unwrap();
                    let answer = answer.complete().unwrap();
                    let text = answer.text();
                    assert_eq!(answer.status(), *status, "{name}: {text}");
                    assert!(text.contains(part), "{name}: {text}");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let total = (CLIENTS * ROUNDS) as u64;
    let stat = |name: &str| envoy.stat(&format!("dynamicmodulescustom.kserve_transcoder.{name}")).unwrap();
    assert_eq!((stat("transcoded"), stat("refused")), (3 * total, total));
    let workers = envoy.stats("listener\\..*\\.worker_.*\\.downstream_cx_total").unwrap();
    for worker in 0..4 {
        let of_worker = |name: &&String| name.contains(&format!("worker_{worker}."));
        let connections: u64 = workers.keys().filter(of_worker).map(|name| workers[name]).sum();
        assert!(connections > 0, "worker {worker} had no connection: {workers:?}");
    }
    assert!(envoy.process().exited().is_none());
}
