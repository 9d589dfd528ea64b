//! Answers that are written while their messages come, compared with the same answers held to the end.

use super::message::{Choice, Contents, ModelInferResponse, UnpackedTensor, parameters, tensor};
use super::*;
use crate::codec::Beginning;
use crate::tensor::datatype::Datatype;
use proptest::prelude::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// What became of a message.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// What was written, before an error too.
    body: Vec<u8>,
    /// What was written before the message's last byte had come.
    early: usize,
    /// The length of the JSON part of a binary answer.
    json_bytes: Option<usize>,
    result: Result<(), Problem>,
}

/// The answer that is written once the message is complete.
fn held(options: Options, asked: &str, message: &[u8]) -> Outcome {
    let mut outcome = Outcome { body: Vec::new(), early: 0, json_bytes: None, result: Ok(()) };
    match answer_in(reader(options, asked), message, message.len().max(1)) {
        Ok(answer) => {
            outcome.json_bytes = answer.inference_header_length();
            answer.render(&mut outcome.body);
        }
        Err(problem) => outcome.result = Err(problem),
    }
    outcome
}

/// The answer that is written as the message comes, in pieces of these sizes, over and over.
fn streamed(options: Options, asked: &str, message: &[u8], sizes: &[usize]) -> Outcome {
    let mut outcome = Outcome { body: Vec::new(), early: 0, json_bytes: None, result: Ok(()) };
    outcome.result = stream(reader(options, asked), message, sizes, &mut outcome);
    outcome
}

fn stream(
    mut reader: Box<dyn ResponseCodec>,
    message: &[u8],
    sizes: &[usize],
    outcome: &mut Outcome,
) -> Result<(), Problem> {
    reader.stream(message.len());
    let (mut rest, mut begun) = (message, false);
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
        let (piece, after) = rest.split_at(size);
        rest = after;
        reader.write(piece)?;
        if !begun && let Beginning::Now { json_bytes } = reader.begin(None)? {
            (begun, outcome.json_bytes) = (true, json_bytes);
        }
        if begun {
            reader.flow(&mut outcome.body)?;
        }
        if !rest.is_empty() {
            outcome.early = outcome.body.len();
        }
    }
    let answer = reader.finish()?;
    if !begun {
        outcome.json_bytes = answer.inference_header_length();
    }
    answer.render(&mut outcome.body);
    Ok(())
}

fn reader(options: Options, asked: &str) -> Box<dyn ResponseCodec> {
    let body = format!(r#"{{"inputs":[]{asked}}}"#);
    transcode(options, None, body.as_bytes(), usize::MAX).unwrap().1
}

/// Asks for all outputs as binary.
const BINARY: &str = r#","parameters":{"binary_data_output":true}"#;

/// Both ways to write the answer come to the same.
fn compare(options: Options, asked: &str, message: &[u8], sizes: &[usize], in_order: bool) {
    let held = held(options, asked, message);
    let streamed = streamed(options, asked, message, sizes);
    let context = || format!("{message:02x?} in pieces of {sizes:?}\n{held:?}\n{streamed:?}");
    match (&held.result, &streamed.result) {
        (Ok(()), Ok(())) => {
            assert_eq!((&held.body, held.json_bytes), (&streamed.body, streamed.json_bytes), "{}", context());
        }
        (Err(one), Err(other)) => assert_eq!(one.status, other.status, "{}", context()),
        // Fields that belong further to the front, and came when it was too late.
        (Ok(()), Err(_)) => assert!(!in_order && !streamed.body.is_empty(), "{}", context()),
        (Err(_), Ok(())) => panic!("{}", context()),
    }
}

/// An output, with its elements in one of the forms.
#[derive(Clone, Debug)]
struct Made {
    tensor: message::Tensor,
    raw: Vec<u8>,
}

const DATATYPES: [&str; 14] = [
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32",
    "FP64", "BYTES",
];

fn made(name: &str, datatype: &str, seeds: &[u64], with_parameters: bool) -> Made {
    let mut tensor = tensor(name, datatype, &[seeds.len() as i64]);
    if with_parameters {
        tensor.parameters =
            parameters([("content_type", Choice::String("np".to_owned())), ("n", Choice::Int64(7))]);
    }
    let mut contents = Contents::default();
    let mut raw = Vec::new();
    for &seed in seeds {
        let bytes = seed.to_le_bytes();
        match datatype {
            "BOOL" => contents.bool_contents.push(seed & 1 == 1),
            "UINT8" => contents.uint_contents.push(bytes[0].into()),
            "UINT16" => contents.uint_contents.push(seed as u16 as u32),
            "UINT32" => contents.uint_contents.push(seed as u32),
            "UINT64" => contents.uint64_contents.push(seed),
            "INT8" => contents.int_contents.push(seed as i8 as i32),
            "INT16" => contents.int_contents.push(seed as i16 as i32),
            "INT32" => contents.int_contents.push(seed as i32),
            "INT64" => contents.int64_contents.push(seed as i64),
            "FP32" => contents.fp32_contents.push(f32::from_bits(seed as u32)),
            "FP64" => contents.fp64_contents.push(f64::from_bits(seed)),
            "BYTES" => contents.bytes_contents.push(bytes[..(seed % 8) as usize].to_vec()),
            _ => {}
        }
        match datatype {
            "BOOL" => raw.push((seed & 1) as u8),
            "BYTES" => {
                raw.extend_from_slice(&((seed % 8) as u32).to_le_bytes());
                raw.extend_from_slice(&bytes[..(seed % 8) as usize]);
            }
            _ => raw.extend_from_slice(
                &bytes[..Datatype::from_name(datatype.as_bytes()).unwrap().size().unwrap()],
            ),
        }
    }
    tensor.contents = Some(contents);
    Made { tensor, raw }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Raw,
    Packed,
    Unpacked,
}

/// The message's fields, in the order of their numbers.
fn fields(outputs: &[Made], form: Form) -> Vec<Vec<u8>> {
    let base = ModelInferResponse::default();
    let mut fields = vec![
        ModelInferResponse { model_name: "m".to_owned(), ..base.clone() }.encode_to_vec(),
        ModelInferResponse { id: "i\u{e9}".to_owned(), ..base.clone() }.encode_to_vec(),
        ModelInferResponse { parameters: parameters([("p", Choice::Double(0.5))]), ..base.clone() }
            .encode_to_vec(),
    ];
    for Made { tensor, .. } in outputs {
        let mut tensor = tensor.clone();
        match form {
            Form::Raw => tensor.contents = None,
            Form::Packed => {}
            Form::Unpacked => {
                let unpacked = UnpackedTensor::from(tensor).encode_to_vec();
                let mut field = vec![5 << 3 | 2];
                prost::encoding::encode_varint(unpacked.len() as u64, &mut field);
                field.extend_from_slice(&unpacked);
                fields.push(field);
                continue;
            }
        }
        fields.push(ModelInferResponse { outputs: vec![tensor], ..base.clone() }.encode_to_vec());
    }
    if form == Form::Raw {
        let raw = |made: &Made| {
            ModelInferResponse { raw_output_contents: vec![made.raw.clone()], ..base.clone() }.encode_to_vec()
        };
        fields.extend(outputs.iter().map(raw));
    }
    fields
}

fn outputs() -> impl Strategy<Value = Vec<Made>> {
    let one = (
        prop_oneof![4 => prop::sample::select(DATATYPES[..13].to_vec()), 1 => Just("BYTES")],
        prop_oneof![prop::collection::vec(any::<u64>(), 0..4), prop::collection::vec(any::<u64>(), 20..200)],
        any::<bool>(),
    );
    prop::collection::vec(one, 1..4).prop_map(|list| {
        let one = |(index, (datatype, seeds, with)): (usize, (&str, Vec<u64>, bool))| {
            made(&format!("y{index}"), datatype, &seeds, with)
        };
        list.into_iter().enumerate().map(one).collect()
    })
}

fn options() -> impl Strategy<Value = (Options, &'static str)> {
    let forms = [AnswerForm::Kserve, AnswerForm::Kserve, AnswerForm::Proto];
    let asked = ["", "", BINARY, r#","outputs":[{"name":"y0","parameters":{"binary_data":true}}]"#];
    let specials = [NonFinite::Bare, NonFinite::Null, NonFinite::String];
    (
        prop::sample::select(forms.to_vec()),
        prop::sample::select(specials.to_vec()),
        prop::sample::select(asked.to_vec()),
    )
        .prop_map(|(answer_form, non_finite, asked)| (Options { answer_form, non_finite, ..OPTIONS }, asked))
}

fn forms() -> impl Strategy<Value = Form> {
    prop::sample::select(vec![Form::Raw, Form::Raw, Form::Packed, Form::Unpacked])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_answer_is_the_same_written_early_or_late_however_the_message_is_cut(
        outputs in outputs(),
        form in forms(),
        (options, asked) in options(),
        sizes in prop::collection::vec(prop_oneof![1_usize..8, 20_usize..400], 1..5),
    ) {
        compare(options, asked, &fields(&outputs, form).concat(), &sizes, true);
    }

    #[test]
    fn an_answer_is_the_same_written_early_or_late_in_whatever_order_the_fields_come(
        outputs in outputs(),
        form in forms(),
        (options, asked) in options(),
        sizes in prop::collection::vec(1_usize..300, 1..4),
        order in any::<u64>(),
    ) {
        let mut fields = fields(&outputs, form);
        // Two that change places are nearer to the usual order, and likelier to go wrong, than a shuffle.
        let len = fields.len() as u64;
        fields.swap((order % len) as usize, ((order >> 16) % len) as usize);
        if order >> 63 == 1 {
            fields.rotate_left((order >> 32 & 7) as usize % len as usize);
        }
        compare(options, asked, &fields.concat(), &sizes, false);
    }

    #[test]
    fn a_message_with_a_fault_is_never_a_clean_answer_written_early(
        outputs in outputs(),
        form in forms(),
        (options, asked) in options(),
        sizes in prop::collection::vec(1_usize..300, 1..4),
        faults in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 1..3),
        in_front in any::<bool>(),
    ) {
        let mut message = fields(&outputs, form).concat();
        for (at, kind, byte) in faults {
            // Most bytes are elements, any of which is right.
            let range = if in_front { message.len().min(64) } else { message.len() };
            if range == 0 {
                break;
            }
            let at = at.index(range);
            match kind {
                0 => message[at] = byte,
                1 => message[at] = message[at].wrapping_add(1),
                2 => drop(message.remove(at)),
                _ => message.insert(at, byte),
            }
        }
        compare(options, asked, &message, &sizes, false);
    }
}

/// Values of which no two are the same.
fn seeds(count: u64) -> Vec<u64> {
    (1..=count).map(|seed| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8).collect()
}

#[test]
fn every_datatype_but_bytes_is_written_while_it_comes_in_every_form() {
    for datatype in DATATYPES {
        for form in [Form::Raw, Form::Packed, Form::Unpacked] {
            if form != Form::Raw && matches!(datatype, "FP16" | "BF16") {
                continue;
            }
            let message = fields(&[made("y", datatype, &seeds(1000), true)], form).concat();
            for (answer_form, asked) in
                [(AnswerForm::Kserve, ""), (AnswerForm::Kserve, BINARY), (AnswerForm::Proto, "")]
            {
                let options = Options { answer_form, ..OPTIONS };
                compare(options, asked, &message, &[97], true);
                let outcome = streamed(options, asked, &message, &[97]);
                let half = outcome.body.len() / 2;
                assert_eq!(
                    outcome.early > half,
                    datatype != "BYTES",
                    "{datatype} {form:?} {options:?} {asked}"
                );
            }
        }
    }
}

#[test]
fn outputs_are_written_one_after_the_other_and_strings_when_they_are_complete() {
    let outputs = [
        made("a", "FP32", &seeds(500), false),
        made("s", "BYTES", &seeds(3), false),
        made("b", "INT64", &seeds(500), false),
    ];
    // Raw contents of BYTES have no length that could be known before.
    for (form, early) in [(Form::Raw, false), (Form::Packed, true), (Form::Unpacked, true)] {
        let message = fields(&outputs, form).concat();
        compare(OPTIONS, "", &message, &[100], true);
        assert_eq!(streamed(OPTIONS, "", &message, &[100]).early > 0, early, "{form:?}");
    }
}

#[test]
fn contents_of_another_length_are_an_error_before_the_first_byte_of_them() {
    let (a, b) = (made("a", "FP32", &seeds(300), false), made("b", "INT16", &seeds(300), false));
    let mut wrong = [a.clone(), b.clone()];
    wrong[0].raw.truncate(1196);
    wrong[1].raw.extend([1, 2, 3, 4]);
    let message = fields(&wrong, Form::Raw).concat();
    let outcome = streamed(OPTIONS, "", &message, &[100]);
    assert_eq!(outcome.body, b"", "the first contents are wrong already");
    assert_eq!(outcome.result, held(OPTIONS, "", &message).result);

    // As long as they should be together, and the first as long as it should be.
    let c = made("c", "INT16", &seeds(300), false);
    let mut wrong = [a, b, c];
    wrong[1].raw.truncate(598);
    wrong[2].raw.extend([1, 2]);
    let outcome = streamed(OPTIONS, "", &fields(&wrong, Form::Raw).concat(), &[100]);
    let problem = outcome.result.unwrap_err();
    assert!(problem.message.ends_with("output b: it has 598 bytes instead of 600"), "{problem}");
    let body = String::from_utf8(outcome.body).unwrap();
    assert!(body.contains(r#""name":"a""#) && !body.contains(r#""name":"b""#), "{body}");
}

#[test]
fn a_number_out_of_range_ends_an_answer_and_is_not_written() {
    let mut output = made("y", "INT8", &seeds(300), false);
    output.tensor.contents.as_mut().unwrap().int_contents[200] = 300;
    let outcome = streamed(OPTIONS, "", &fields(&[output.clone()], Form::Packed).concat(), &[50]);
    assert!(outcome.result.unwrap_err().message.contains("out of range"));
    assert!(!outcome.body.is_empty() && !String::from_utf8(outcome.body).unwrap().contains("300,"));
    // One that comes with the beginning is an error in time.
    output.tensor.contents.as_mut().unwrap().int_contents[1] = 300;
    let outcome = streamed(OPTIONS, "", &fields(&[output], Form::Packed).concat(), &[50]);
    assert!(outcome.result.is_err() && outcome.body.is_empty());
}

#[test]
fn fields_in_another_order_are_held() {
    let outputs = [made("a", "FP32", &seeds(300), false), made("b", "INT16", &seeds(300), false)];
    let mut fields = fields(&outputs, Form::Raw);
    // The id behind everything; raw contents in front of the outputs.
    let id = fields.remove(1);
    for message in
        [[fields.concat(), id.clone()].concat(), [&fields[4..], &fields[..4], &[id]].concat().concat()]
    {
        compare(OPTIONS, "", &message, &[100], true);
        assert_eq!(streamed(OPTIONS, "", &message, &[100]).early, 0);
    }
}

#[test]
fn a_name_behind_typed_contents_is_the_answers_if_no_byte_has_gone_out() {
    let mut fields = fields(&[made("a", "FP32", &seeds(300), false)], Form::Packed);
    fields.push(ModelInferResponse { model_name: "late".to_owned(), ..Default::default() }.encode_to_vec());
    let message = fields.concat();
    let at_once = streamed(OPTIONS, "", &message, &[message.len()]);
    assert_eq!(at_once, held(OPTIONS, "", &message));
    let cut = streamed(OPTIONS, "", &message, &[100]);
    assert!(cut.result.is_err() && !cut.body.is_empty(), "{cut:?}");
}

#[test]
fn a_long_answer_holds_a_piece_of_its_message_at_a_time() {
    let memory = Memory::new(1 << 30);
    for form in [Form::Raw, Form::Packed, Form::Unpacked] {
        let outputs = [made("a", "FP32", &seeds(100_000), false), made("b", "INT64", &seeds(100_000), false)];
        let message = fields(&outputs, form).concat();
        let mut request = Request::new(target(), OPTIONS, None, memory.account(usize::MAX).charge());
        request.write(br#"{"inputs":[]}"#).unwrap();
        let mut reader = request.finish().unwrap().1;
        reader.stream(message.len());
        let (mut begun, mut most, mut body) = (false, 0, Vec::new());
        for piece in message.chunks(16 * 1024) {
            reader.write(piece).unwrap();
            begun = begun || reader.begin(None).unwrap() != Beginning::NotYet;
            assert!(begun, "{form:?}");
            most = most.max(memory.used());
            reader.flow(&mut body).unwrap();
        }
        reader.finish().unwrap().render(&mut body);
        assert_eq!(body, held(OPTIONS, "", &message).body);
        assert!(most < 300_000, "{form:?}: {most} bytes of {}", message.len());
        assert_eq!(memory.used(), 0);
    }
}
