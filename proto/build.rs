//! Compiles the service's descriptor set.

use std::path::PathBuf;
use std::{env, error::Error, fs};

const ROOT: &str = "proto";
const SERVICE: &str = "kserve/v2/inference.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_imports(true).include_source_info(false).open_file(SERVICE)?;
    // Only this method keeps extension options: prost's own `FileDescriptorSet` has no place for them, and the
    // HTTP rules would be gone.
    let set = compiler.encode_file_descriptor_set();
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("inference.binpb"), set)?;
    Ok(())
}
