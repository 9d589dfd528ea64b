//! The chart: its output is the overlays', its values are refused where they make no sense, and its README's tables are its
//! schema's.
#![allow(clippy::unwrap_used)] // Tests, but not marked as such: `Suite` runs them.

mod bad_values;
mod combinations;
mod documents;
mod overlays;

use std::process::ExitCode;

use chart::Helm;
use e2e::Suite;

fn main() -> ExitCode {
    let helm = || Helm::from_environment().ok_or(chart::HELM);
    Suite::new()
        .test("the_readmes_tables_list_every_value", documents::tables)
        .test("the_schemas_defaults_are_those_of_values_yaml", documents::defaults)
        .test("there_is_an_example_for_every_overlay_but_those_with_a_login", overlays::complete)
        .given("each_example_renders_what_its_overlay_has", helm(), |helm| overlays::same(&helm))
        .given("what_an_example_renders_passes_the_overlays_checks", helm(), |helm| overlays::checked(&helm))
        .given("what_no_overlay_has_passes_their_checks_too", helm(), |helm| combinations::checked(&helm))
        .given("the_notes_say_what_to_try", helm(), |helm| combinations::noted(&helm))
        .given("helm_lint_has_nothing_to_say", helm(), |helm| overlays::linted(&helm))
        .given("a_digest_pins_the_image_in_every_form", helm(), |helm| overlays::pinned(&helm))
        .given("the_module_can_come_as_an_image_volume", helm(), |helm| overlays::image_volume(&helm))
        .given("values_that_make_no_sense_are_refused_by_key", helm(), |helm| bad_values::refused(&helm))
        .run()
}
