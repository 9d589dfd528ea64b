//! `schema/` and the README's tables are made from the Rust types, and these tests fail where they differ.

use super::Config;
use testkit::docs::Package;

const PACKAGE: Package = Package::new(env!("CARGO_PKG_NAME"), env!("CARGO_MANIFEST_DIR"));

#[test]
fn the_json_schema_in_the_repository_is_that_of_the_rust_types() {
    PACKAGE.assert_schema(&schemars::schema_for!(Config).to_value());
}

#[test]
fn the_readmes_tables_list_every_key_with_its_type_default_and_meaning() {
    let parts = &[("Each of `keys`", "Key")];
    PACKAGE.assert_tables(&schemars::schema_for!(Config).to_value(), parts);
}

#[test]
fn the_readmes_table_lists_every_counter_with_its_meaning() {
    PACKAGE.assert_counters(crate::metrics::ALL);
}
