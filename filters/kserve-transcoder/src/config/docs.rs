//! `schema/` and the README's table are made from the Rust types, and these tests fail where they differ.

use super::Config;
use testkit::docs::Package;

/// What has a table of its own.
const PARTS: &[(&str, &str)] = &[
    ("`compress_answers`", "CompressAnswers"),
    ("`print_options`", "PrintOptions"),
    ("`kserve_v1`", "KserveV1"),
    ("A model of `kserve_v1.models`", "ModelInputs"),
    ("An input of such a model", "ModelInput"),
    ("`openai`", "OpenAi"),
    ("A model of `openai`", "OpenAiModel"),
    ("Its `embeddings` or `completions`", "OpenAiOperation"),
    ("Its inputs `text`, `tokens` and `mask`", "OpenAiInput"),
    ("One of its `parameters`", "OpenAiParameter"),
    ("One of its `constants`", "OpenAiConstant"),
];

const PACKAGE: Package = Package::new(env!("CARGO_PKG_NAME"), env!("CARGO_MANIFEST_DIR"));

#[test]
fn the_json_schema_in_the_repository_is_that_of_the_rust_types() {
    PACKAGE.assert_schema(&schemars::schema_for!(Config).to_value());
}

#[test]
fn the_readmes_table_lists_every_key_with_its_type_default_and_meaning() {
    PACKAGE.assert_tables(&schemars::schema_for!(Config).to_value(), PARTS);
}

#[test]
fn the_readmes_table_lists_every_metric_with_its_meaning() {
    PACKAGE.assert_metrics(crate::metrics::ALL);
}
