//! What `cargo xtask image` leaves in `dist/images`, made here of small files and tried with programs of others. Tests are
//! ignored, by name, where such a program is missing.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Trial` runs them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use images::layout;
use images::release::BILLS;
use images::sources::VERSION;
use keeper::Kept;
use libtest_mimic::{Arguments, Trial};
use tempfile::TempDir;
use testkit::unless_missing;

/// How long a registry may take to listen.
const BOUND: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    keeper::stand_in();
    let python = named("CYCLONEDX_PYTHON");
    let crane = named("CRANE");
    let missing = |found: &Option<PathBuf>, name| found.is_none().then_some(name);
    let (no_python, no_crane) = (missing(&python, "CYCLONEDX_PYTHON"), missing(&crane, "CRANE"));
    let with = |found: Option<PathBuf>, test: fn(&Path)| {
        move || {
            test(&found.unwrap_or_default());
            Ok(())
        }
    };
    let trials = vec![
        Trial::test("the_same_files_make_the_same_directory_bit_for_bit", || {
            same();
            Ok(())
        }),
        Trial::test("sha256sum_finds_every_file_as_it_is_and_tells_one_that_is_not", || {
            summed();
            Ok(())
        }),
        unless_missing(
            Trial::test("the_bills_of_materials_are_valid_cyclonedx", with(python, valid)),
            no_python,
        ),
        unless_missing(
            Trial::test("what_is_pushed_is_pulled_from_a_real_registry", with(crane.clone(), pushed)),
            no_crane,
        ),
        unless_missing(
            Trial::test("a_layout_is_copied_to_a_registry_by_cranes_own_push", with(crane, copied)),
            no_crane,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Small files in the form of those that are shipped, and the images of them.
struct Made {
    folder: TempDir,
}

impl Made {
    fn new(more: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let module = folder.path().join("module.wasm");
        fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
        let mut images = Command::new(env!("CARGO_BIN_EXE_images"));
        images.arg(folder.path().join("images"));
        images.arg("--wasm").arg(format!("claim-headers-wasm={}", module.display()));
        for (architecture, machine) in [("amd64", 62), ("arm64", 183)] {
            let files = folder.path().join(architecture);
            fs::create_dir(&files).unwrap();
            for name in ["libinference_filters.so", "cp"] {
                let header = [&b"\x7fELF\x02\x01\x01"[..], &[0; 11], &[machine, 0], name.as_bytes()].concat();
                fs::write(files.join(name), header).unwrap();
            }
            images.arg("--native");
            images.arg(format!("inference-filters={architecture}={}", files.display()));
        }
        output(images.args(more));
        Self { folder }
    }

    fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }
}

/// What a program that succeeds prints.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn same() {
    let [one, two] = [Made::new(&[]), Made::new(&[])];
    let files = |made: &Made| {
        let images = made.images();
        let mut files = layout::below(&images).unwrap();
        files.sort();
        let file = |file: PathBuf| {
            let bytes = fs::read(&file).unwrap();
            (file.strip_prefix(&images).unwrap().to_owned(), bytes)
        };
        files.into_iter().map(file).collect::<Vec<_>>()
    };
    let (one, two) = (files(&one), files(&two));
    assert_eq!(one.len(), two.len());
    for (one, two) in one.iter().zip(&two) {
        assert!(one == two, "{} and {} differ", one.0.display(), two.0.display());
    }
}

fn summed() {
    let made = Made::new(&[]);
    let check = || Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(made.images()).output();
    let right = check().unwrap();
    let lines = String::from_utf8_lossy(&right.stdout).into_owned();
    assert!(right.status.success(), "{lines}");
    assert_eq!(lines.lines().count(), layout::below(&made.images()).unwrap().len() - 1);
    assert!(lines.lines().all(|line| line.ends_with(": OK")), "{lines}");
    let bill = made.images().join(BILLS).join("claim-headers.cdx.json");
    fs::write(&bill, "{}").unwrap();
    let wrong = check().unwrap();
    let lines = String::from_utf8_lossy(&wrong.stdout).into_owned();
    assert!(!wrong.status.success() && lines.contains("sbom/claim-headers.cdx.json: FAILED"), "{lines}");
}

fn valid(python: &Path) {
    let made = Made::new(&[]);
    let bills = layout::below(&made.images().join(BILLS)).unwrap();
    assert_eq!(bills.len(), 2);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/valid_bills.py");
    output(Command::new(python).arg(&script).args(&bills));
    // The validator is strict, and says where.
    let text = fs::read_to_string(&bills[0]).unwrap();
    fs::write(&bills[0], text.replace("\"bomFormat\"", "\"format\"")).unwrap();
    let refused = Command::new(python).arg(&script).args(&bills).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(said.contains("'bomFormat' is a required property") || said.contains("'format'"), "{said}");
}

/// The registry that crane has in it, which keeps images in memory. It ends when dropped.
struct Registry {
    address: String,
    _kept: Kept,
}

impl Registry {
    fn start(crane: &Path) -> Self {
        let mut command = Command::new(crane);
        command.args(["registry", "serve", "--address", "127.0.0.1:0"]);
        let mut kept = Kept::start(&mut command, Stdio::null(), Stdio::piped()).unwrap();
        let log = BufReader::new(kept.stderr().unwrap());
        let (sender, lines) = mpsc::channel();
        // Reads on to the end, so that the registry never waits for room in the pipe.
        thread::spawn(move || log.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        // The last word of its first line is the port.
        let first = lines.recv_timeout(BOUND).unwrap();
        let port: u16 = first.rsplit(' ').next().unwrap().parse().unwrap();
        Self { address: format!("127.0.0.1:{port}"), _kept: kept }
    }
}

fn pushed(crane: &Path) {
    let registry = Registry::start(crane);
    let address = &registry.address;
    let made = Made::new(&["--push", &format!("http://{address}/team")]);
    let of = |command: &str, name: &str| output(Command::new(crane).args([command, name]));
    for (name, (tag, image)) in layout::read_all(&made.images()).unwrap() {
        assert_eq!(tag, VERSION);
        let tagged = format!("{address}/team/{name}:{tag}");
        assert_eq!(of("digest", &tagged).trim(), image.digest());
        assert_eq!(of("manifest", &tagged).as_bytes(), image.root.bytes);
        // Pulls every layer, and compares digests, sizes and the identities of what is in them.
        output(Command::new(crane).args([
            "validate",
            "--remote",
            &format!("{address}/team/{name}@{}", image.digest()),
        ]));
    }
    let module = Command::new(crane)
        .args(["export", &format!("{address}/team/claim-headers:{VERSION}"), "-"])
        .output()
        .unwrap();
    let mut archive = tar::Archive::new(&module.stdout[..]);
    let names: Vec<_> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
    assert_eq!(names, [Path::new("plugin.wasm")]);
}

fn copied(crane: &Path) {
    let registry = Registry::start(crane);
    let made = Made::new(&[]);
    for (name, (tag, image)) in layout::read_all(&made.images()).unwrap() {
        let tagged = format!("{}/{name}:{tag}", registry.address);
        output(Command::new(crane).arg("push").arg(made.images().join(&name)).arg(&tagged));
        assert_eq!(output(Command::new(crane).args(["digest", &tagged])).trim(), image.digest(), "{name}");
    }
}
