//! Lists the captures, for tests that run where there are no files to read.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = fs::canonicalize("tritonclient-http")?;
    println!("cargo:rerun-if-changed={}", root.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&root)? {
        let name = entry?.file_name().into_string().map_err(|name| format!("{name:?} is no UTF-8"))?;
        names.extend(name.strip_suffix(".req.bin").map(str::to_owned));
    }
    names.sort();
    let mut list = String::from("&[\n");
    for name in names {
        let [request, answer] = ["req", "resp"].map(|side| root.join(format!("{name}.{side}.bin")));
        writeln!(list, "    ({name:?}, include_bytes!({request:?}), include_bytes!({answer:?})),")?;
    }
    list.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("captures.rs"), list)?;
    Ok(())
}
