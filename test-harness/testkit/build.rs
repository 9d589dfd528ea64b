//! Lists the golden cases and the captures, for tests that run where there are no files to read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, error::Error, fs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    golden_cases()?;
    if env::var_os("CARGO_FEATURE_CAPTURES").is_some() {
        captures()?;
    }
    Ok(())
}

fn golden_cases() -> Result<()> {
    let root = watched("../cases")?;
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(&root)?.with_extension("");
        writeln!(list, "    ({name:?}, include_str!({file:?})),")?;
    }
    list.push_str("]\n");
    write_out("golden_cases.rs", list)
}

fn captures() -> Result<()> {
    let root = watched("captures/tritonclient-http")?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&root)? {
        let name = entry?.file_name().into_string().map_err(|name| format!("{name:?} is not UTF-8"))?;
        names.extend(name.strip_suffix(".req.bin").map(str::to_owned));
    }
    names.sort();
    let mut list = String::from("&[\n");
    for name in names {
        let [request, answer] = ["req", "resp"].map(|side| root.join(format!("{name}.{side}.bin")));
        writeln!(list, "    ({name:?}, include_bytes!({request:?}), include_bytes!({answer:?})),")?;
    }
    list.push_str("]\n");
    write_out("captures.rs", list)
}

/// A folder whose changes are a reason to run this again.
fn watched(folder: &str) -> Result<PathBuf> {
    let folder = fs::canonicalize(folder)?;
    println!("cargo:rerun-if-changed={}", folder.display());
    Ok(folder)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

fn write_out(name: &str, list: String) -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    Ok(fs::write(out.join(name), list)?)
}
