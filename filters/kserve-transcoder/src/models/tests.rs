use super::*;
use crate::metrics;
use filter_api::Op;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 + ms)
}

/// An inference that begins at a time, whose answer begins 3 ms later and ends after 40 ms.
fn infer(models: &Models, name: &str, version: Option<&str>, ending: Ending, began: u64) {
    let mut inference = models.begin(name, version, false, || at(began)).unwrap();
    (inference.request_bytes, inference.elements, inference.answer_bytes) = (100, 12, 50);
    inference.first_byte(at(began + 3));
    models.add(inference, ending, at(began + 40));
}

/// What the host is told of a metric, as the values of its labels and what is added.
fn told(models: &Models, ms: u64, metric: usize) -> Vec<(String, u64)> {
    let mut ops = Ops::default();
    models.tell(at(ms), &mut ops);
    let mut told: Vec<_> = ops
        .iter()
        .filter_map(|op| match op {
            Op::CountBy(of, labels, by) if of == metric => {
                Some((labels.values().collect::<Vec<_>>().join("|"), by))
            }
            _ => None,
        })
        .collect();
    told.sort();
    told
}

fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(labels, by)| ((*labels).to_owned(), *by)).collect()
}

const OK: Ending = Ending::Status(0);
const NOT_FOUND: Ending = Ending::Status(5);

#[test]
fn a_model_has_a_name_of_its_own_once_a_server_has_answered_it_with_success() {
    let models = Models::new(10);
    infer(&models, "m", None, NOT_FOUND, 0);
    infer(&models, "m", None, OK, 1);
    infer(&models, "m", None, NOT_FOUND, 2);
    infer(&models, "m", Some("3"), OK, 3);
    infer(&models, "invented", None, NOT_FOUND, 4);
    infer(&models, "invented", None, Ending::Unfinished, 5);
    let expected =
        [("m|3|0", 1), ("m|any|0", 1), ("m|any|5", 1), ("other|other|5", 2), ("other|other|unfinished", 1)];
    assert_eq!(told(&models, 100, metrics::MODEL_REQUESTS), pairs(&expected));
}

#[test]
fn models_for_which_there_is_no_room_are_others_and_so_are_names_that_are_no_labels() {
    let models = Models::new(2);
    let long = "x".repeat(LABEL_BYTES + 1);
    for (name, version) in
        [("a", None), (&long, None), ("a", Some(&*long)), ("", None), ("b", None), ("c", None)]
    {
        infer(&models, name, version, OK, 0);
        infer(&models, name, version, OK, 0);
    }
    let expected = [("a|any|0", 2), ("b|any|0", 2), ("other|other|0", 8)];
    assert_eq!(told(&models, 100, metrics::MODEL_REQUESTS), pairs(&expected));
}

#[test]
fn the_versions_of_a_model_take_no_room_of_another_and_further_ones_are_its_version_other() {
    let models = Models::new(2);
    for version in 1..=120 {
        infer(&models, "affine", Some(&version.to_string()), OK, 0);
    }
    // Named ones stay, and so does what names no version; what fails of the others is this model's, too.
    infer(&models, "affine", Some("3"), NOT_FOUND, 0);
    infer(&models, "affine", None, OK, 0);
    infer(&models, "affine", Some("200"), NOT_FOUND, 0);
    infer(&models, "b", Some("1"), OK, 0);
    infer(&models, "c", None, OK, 0);
    let mut expected: Vec<_> = (1..=8).map(|version| (format!("affine|{version}|0"), 1)).collect();
    expected.extend(pairs(&[
        ("affine|3|5", 1),
        ("affine|any|0", 1),
        ("affine|other|0", 112),
        ("affine|other|5", 1),
        ("b|1|0", 1),
        ("other|other|0", 1),
    ]));
    expected.sort();
    assert_eq!(told(&models, 100, metrics::MODEL_REQUESTS), expected);
}

#[test]
fn a_name_that_would_end_a_label_cannot() {
    let models = Models::new(2);
    infer(&models, "a;.;model=.=b \u{e9}\"\n\0", None, OK, 0);
    assert_eq!(told(&models, 100, metrics::MODEL_REQUESTS), pairs(&[("a_._model_._b_\u{e9}___|any|0", 1)]));
}

#[test]
fn sizes_and_durations_are_added_up_and_the_buckets_are_those_of_prometheus() {
    for (metric, expected) in [
        (metrics::MODEL_REQUEST_BYTES, &[("m|1", 200)][..]),
        (metrics::MODEL_ANSWER_BYTES, &[("m|1", 100)]),
        (metrics::MODEL_ELEMENTS, &[("m|1", 24)]),
        (metrics::MODEL_FIRST_BYTE_SUM, &[("m|1", 6)]),
        (metrics::MODEL_FIRST_BYTE_COUNT, &[("m|1", 2)]),
        (metrics::MODEL_LAST_BYTE_SUM, &[("m|1", 80)]),
        (metrics::MODEL_LAST_BYTE_COUNT, &[("m|1", 2)]),
    ] {
        let models = Models::new(1);
        infer(&models, "m", Some("1"), OK, 0);
        infer(&models, "m", Some("1"), OK, 0);
        assert_eq!(told(&models, 100, metric), pairs(expected), "{metric}");
    }
    let models = Models::new(1);
    infer(&models, "m", Some("1"), OK, 0);
    let told: Vec<_> = told(&models, 100, metrics::MODEL_LAST_BYTE_BUCKET);
    let bounds: Vec<_> = told.iter().map(|(labels, by)| (labels.rsplit('|').next().unwrap(), *by)).collect();
    let expected = ["+Inf", "100", "1000", "10000", "250", "2500", "30000", "50", "500", "5000", "60000"]
        .map(|le| (le, 1));
    assert_eq!(bounds, expected);
}

#[test]
fn a_duration_lies_in_the_bucket_whose_bound_it_does_not_exceed() {
    for (micros, least) in [(0, "1"), (1_000, "1"), (1_001, "2"), (5_000, "5"), (60_000_001, "+Inf")] {
        let models = Models::new(1);
        let inference = models.begin("m", None, false, || at(0)).unwrap();
        models.add(inference, OK, at(0) + Duration::from_micros(micros));
        let mut ops = Ops::default();
        models.tell(at(0), &mut ops);
        let first = ops.iter().find_map(|op| match op {
            Op::CountBy(metrics::MODEL_LAST_BYTE_BUCKET, labels, 1) => {
                labels.values().nth(2).map(str::to_owned)
            }
            _ => None,
        });
        assert_eq!(first.as_deref(), Some(least), "{micros} microseconds");
    }
}

#[test]
fn the_host_is_told_now_and_then_and_misses_nothing_whatever_the_clock_does() {
    let models = Models::new(1);
    infer(&models, "m", None, OK, 0);
    assert_eq!(told(&models, 0, metrics::MODEL_REQUESTS), pairs(&[("m|any|0", 1)]));
    infer(&models, "m", None, OK, 0);
    assert_eq!(told(&models, INTERVAL_MS - 1, metrics::MODEL_REQUESTS), pairs(&[]));
    infer(&models, "m", None, OK, 0);
    assert_eq!(told(&models, INTERVAL_MS, metrics::MODEL_REQUESTS), pairs(&[("m|any|0", 2)]));
    assert_eq!(told(&models, 2 * INTERVAL_MS, metrics::MODEL_REQUESTS), pairs(&[]));
    // Set back by an hour: the next inference is told all the same, and no time has passed during it.
    let inference = models.begin("m", None, false, || at(3_600_000)).unwrap();
    models.add(inference, OK, at(0));
    infer(&models, "m", None, OK, 0);
    assert_eq!(told(&models, 0, metrics::MODEL_REQUESTS), pairs(&[("m|any|0", 2)]));
}

#[test]
fn an_inference_that_did_not_end_has_no_duration() {
    let models = Models::new(1);
    infer(&models, "m", None, OK, 0);
    let _of_the_first = told(&models, 0, metrics::MODEL_REQUESTS);
    let inference = models.begin("m", None, false, || at(0)).unwrap();
    models.add_unfinished(inference);
    let mut ops = Ops::default();
    models.tell(at(INTERVAL_MS), &mut ops);
    let told: Vec<_> = ops.iter().collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn nothing_is_measured_with_room_for_none() {
    assert!(Models::new(0).begin("m", None, false, || panic!("the clock was read")).is_none());
}
