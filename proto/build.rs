//! Compiles the descriptor sets.

use std::path::PathBuf;
use std::{env, error::Error, fs};

const ROOT: &str = "proto";
/// The protocol, and Triton's extensions of it: two sets, because both define methods of the same service.
const SETS: [(&str, &str); 2] =
    [("kserve/v2/inference.proto", "inference.binpb"), ("triton/extensions.proto", "triton.binpb")];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={ROOT}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    for (file, set) in SETS {
        let mut compiler = protox::Compiler::new([ROOT])?;
        compiler.include_imports(true).include_source_info(false).open_file(file)?;
        // Only this method keeps extension options: prost's own `FileDescriptorSet` has no place for them, and the
        // HTTP rules would be gone.
        fs::write(out.join(set), compiler.encode_file_descriptor_set())?;
    }
    Ok(())
}
