//! `docs/install.md` followed to the letter: its commands are run in the order in which they stand there, by a shell, in a
//! folder laid out as a release. Ignored, by name, where a program or `dist/` is missing.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

mod page;
mod release;

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use e2e::{Process, Suite, dist, free_ports, installed, output};
use odd_server::{OddServer, Script, infer, wire};
use page::{Block, Kind};
use tempfile::TempDir;

/// What is followed, in `docs/`.
const PAGE: &str = "install.md";
/// How long a server may take to listen.
const BOUND: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let named = |variable: &'static str| {
        std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from).ok_or(variable)
    };
    let programs = || {
        let envoy = installed("1.40").map_err(|_| "ENVOY_140")?.path;
        let built = release::MODULES.iter().chain([&release::LIBRARY]).all(|name| dist(name).is_file());
        if !built {
            return Err("dist/");
        }
        Ok([("envoy", envoy), ("helm", named("HELM")?), ("crane", named("CRANE")?)])
    };
    Suite::new()
        .test("every_command_says_whether_it_is_run", every_command_says_whether_it_is_run)
        .given("every_command_that_can_run_here_does_what_the_page_says", programs(), followed)
        .run()
}

fn every_command_says_whether_it_is_run() {
    let blocks = page::blocks(PAGE);
    let count = |kind: Kind| blocks.iter().filter(|block| block.kind == kind).count();
    assert!(count(Kind::Run) >= 8 && count(Kind::Start) >= 2 && count(Kind::NotRun) >= 4);
    for page in [PAGE, "upgrade.md"] {
        let blocks = page::blocks(page);
        let unsaid: Vec<_> = blocks.iter().filter(|block| block.kind == Kind::Unsaid).collect();
        assert!(unsaid.is_empty(), "{page}: `sh` alone does not say whether it is run: {unsaid:?}");
    }
}

fn followed(programs: [(&str, PathBuf); 3]) {
    let folder = TempDir::new().unwrap();
    let (work, bin) = (folder.path().join("release"), folder.path().join("bin"));
    fs::create_dir(&bin).unwrap();
    for (name, program) in &programs {
        symlink(program, bin.join(name)).unwrap();
    }
    let registry = registry(&programs[2].1);
    let model = model_server();
    let [listener, admin] = free_ports(2).unwrap()[..] else { panic!("two ports") };
    let ports = [(8080, listener), (9901, admin), (8081, model.port())];
    release::lay_out(&work);
    let mut place = Place { work, bin, registry: registry.1.clone(), ports, server: None };
    place.other_ports();
    let mut printed = String::new();
    for block in page::blocks(PAGE) {
        match block.kind {
            Kind::File => fs::write(place.work.join(&block.name), &block.text).unwrap(),
            Kind::Run => printed = place.run(&block),
            Kind::Start => place.start(&block),
            Kind::Prints => has_lines(&printed, &block.text),
            Kind::NotRun | Kind::Unsaid => {}
        }
    }
}

/// Where the commands are run, and with what.
struct Place {
    work: PathBuf,
    /// What is on PATH beside the system's own.
    bin: PathBuf,
    registry: String,
    /// The ports in the page and in the bootstraps, and those of this run.
    ports: [(u16, u16); 3],
    /// What the last block has started.
    server: Option<Process>,
}

impl Place {
    /// Gives the bootstraps the ports of this run, and then the release the checksums of them.
    fn other_ports(&self) {
        let envoy = self.work.join("envoy");
        for entry in fs::read_dir(envoy).unwrap() {
            let file = entry.unwrap().path();
            let name = file.file_name().unwrap().to_str().unwrap();
            fs::write(&file, e2e::shipped_on(name, &self.ports).unwrap()).unwrap();
        }
        images::layout::sum(&self.work).unwrap();
    }

    fn shell(&self, block: &Block) -> Command {
        let text = self.ports.iter().fold(block.text.clone(), |text, (documented, port)| {
            text.replace(&format!("localhost:{documented}"), &format!("127.0.0.1:{port}"))
        });
        let mut shell = Command::new("sh");
        shell.args(["-euc", &text]).current_dir(&self.work).env("REGISTRY", &self.registry);
        let system = std::env::var("PATH").unwrap_or_default();
        shell.env("PATH", format!("{}:{system}", self.bin.display()));
        for (variable, name) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            shell.env(variable, self.bin.join(name));
        }
        shell.env("HOME", &self.bin).env("DOCKER_CONFIG", &self.bin);
        shell
    }

    /// Runs a block to its end, which must be a success; what it prints.
    fn run(&self, block: &Block) -> String {
        let output = output(&mut self.shell(block)).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (printed, said) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{}\n{printed}{said}", block.text);
        printed
    }

    /// Starts a block in place of what is running, and waits until it listens where the page says.
    fn start(&mut self, block: &Block) {
        self.server = None;
        let mut process =
            Process::start("the page's server", self.shell(block), TempDir::new().unwrap()).unwrap();
        listens(&mut process, self.ports[0].1);
        self.server = Some(process);
    }
}

fn listens(process: &mut Process, port: u16) {
    process
        .wait(&format!("a listener at {port}"), BOUND, |_| {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        })
        .unwrap();
}

/// The registry that crane has in it, and the name that images have there.
fn registry(crane: &Path) -> (Process, String) {
    let [port] = free_ports(1).unwrap()[..] else { panic!("a port") };
    let mut command = Command::new(crane);
    command.args(["registry", "serve", "--address", &format!("127.0.0.1:{port}")]);
    let mut process = Process::start("registry", command, TempDir::new().unwrap()).unwrap();
    listens(&mut process, port);
    (process, format!("127.0.0.1:{port}/team"))
}

/// Answers that it is ready, and the page's inference with what `examples/affine` makes of it.
fn model_server() -> OddServer {
    let server = OddServer::start().unwrap();
    let ready = wire::Message::new().varint(1, 1);
    server.script_for_path("/inference.GRPCInferenceService/ServerReady", Script::message(ready.as_bytes()));
    let y = infer::Tensor::raw_fp32("y", &[1, 3], &[4.75, 0.0, 12.5625]);
    let answer = infer::Response::new("affine").output(y).encode(infer::Style::default());
    server.script_for_path("/inference.GRPCInferenceService/ModelInfer", Script::message(&answer));
    server
}

/// Whether each expected line is part of a printed one, in that order.
fn has_lines(printed: &str, expected: &str) {
    let mut rest = printed.lines();
    for line in expected.lines() {
        assert!(rest.any(|found| found.contains(line)), "{line:?} is not printed, in that order:\n{printed}");
    }
}
