//! The dynamic module looks up Envoy's functions in the process that loads it. A test that plays Envoy defines them, and
//! must export them from its executable.

fn main() {
    println!("cargo:rustc-link-arg-tests=-rdynamic");
    println!("cargo:rerun-if-changed=build.rs");
}
