use super::*;
use proptest::prelude::*;
use prost::Message as _;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const LIMIT: usize = 4096;

/// As far as tests need it, the protocol's message.
#[derive(Clone, PartialEq, prost::Message)]
struct ModelInferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "2")]
    model_version: String,
    #[prost(bytes = "vec", repeated, tag = "7")]
    raw_input_contents: Vec<Vec<u8>>,
}

/// What a whole body led to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ending {
    /// The message went to the endpoints of this model.
    Name(String),
    Lost(&'static str),
    /// The client was refused.
    Refused,
    /// The body ended, and more was needed; with the name that was told.
    Early(Option<String>),
}

/// A name that may be any bytes, one character for each.
fn text(name: Vec<u8>) -> String {
    name.into_iter().map(char::from).collect()
}

/// Reads chunks to their end.
fn read_with<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Ending {
    read_or_else("", chunks, limit)
}

/// As [`read_with`], with a name for messages without one.
fn read_or_else<'a>(otherwise: &str, chunks: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Ending {
    let mut reader = Reader::new(limit, otherwise.into());
    let mut told = None;
    for chunk in chunks {
        match reader.read(&[chunk]) {
            Progress::More => {}
            Progress::Name(name) => return Ending::Name(text(name)),
            Progress::NameSoFar(name) => told = Some(text(name)),
            Progress::Lost(why) => return Ending::Lost(why),
            Progress::Confirmed => return Ending::Name(told.unwrap()),
            Progress::Contradicted => return Ending::Refused,
        }
    }
    Ending::Early(told)
}

/// Reads in chunks of `size` bytes, to the end.
fn read(body: &[u8], size: usize) -> Ending {
    read_with(body.chunks(size), LIMIT)
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

fn name(text: &str) -> Ending {
    Ending::Name(text.to_owned())
}

/// A field of so many bytes that is not the name.
fn filler(bytes: usize) -> Vec<u8> {
    let message = ModelInferRequest { raw_input_contents: vec![vec![7; bytes]], ..Default::default() };
    message.encode_to_vec()
}

#[test]
fn the_name_is_found_however_the_body_is_cut_and_before_the_tensors_have_come() {
    let raw_input_contents = vec![vec![7; 1_000_000]];
    let request =
        ModelInferRequest { model_name: "tf-1".into(), model_version: "3".into(), raw_input_contents };
    let body = framed(&request.encode_to_vec());
    for size in 1..=18 {
        // As soon as the tensor's length has come.
        assert_eq!(read(&body[..18], size), name("tf-1"), "chunks of {size}");
        assert_eq!(read(&body[..17], size), Ending::Early(None), "chunks of {size}");
    }
    let many = ModelInferRequest { raw_input_contents: vec![vec![7; 5000]; 3], ..request };
    let body = framed(&many.encode_to_vec());
    for size in 1..=18 {
        assert_eq!(read(&body[..18], size), Ending::Early(Some("tf-1".into())), "chunks of {size}");
        assert_eq!(read(&body, size), name("tf-1"), "chunks of {size}");
    }
}

#[test]
fn other_fields_may_come_first_known_or_not() {
    // Field 7 of 3 bytes, field 99 as a number, a fixed64 and a fixed32, a group with a field 1 of its own.
    let first = b"\x3a\x03abc\x98\x06\xac\x02\x51\x01\x02\x03\x04\x05\x06\x07\x08\x55\x01\x02\x03\x04\x0b\x0a\x01x\x0c";
    let message = [&first[..], b"\x0a\x04tf-1"].concat();
    for size in 1..=message.len() {
        assert_eq!(read(&framed(&message), size), name("tf-1"), "chunks of {size}");
    }
    // A field 1 that is a number, a group or of a fixed length is not the name.
    for other in
        [&b"\x08\x01"[..], b"\x0b\x0a\x01x\x0c", b"\x09\x0a\x01x\x0a\x01x\x0a\x01", b"\x0d\x0a\x01x\x0a"]
    {
        assert_eq!(read(&framed(&[other, b"\x0a\x01m"].concat()), 1), name("m"));
        assert_eq!(read(&framed(&[b"\x0a\x01m", other].concat()), 1), name("m"));
    }
}

#[test]
fn of_several_names_the_last_one_counts() {
    for (message, last) in [
        (&b"\x0a\x01a\x0a\x01b"[..], "b"),
        (b"\x0a\x01a\x12\x013\x0a\x01b\x12\x014", "b"),
        (b"\x0a\x01a\x0a\x01b\x0a\x01a", "a"),
        (b"\x0a\x01a\x0a\x00", ""),
        (b"\x0a\x00\x0a\x01b", "b"),
        (b"\x0a\x01a\x0b\x0a\x01x\x0c", "a"),
    ] {
        for size in 1..=message.len() + 5 {
            assert_eq!(read(&framed(message), size), name(last), "{message:?}, chunks of {size}");
        }
    }
    // Also in front of a tensor that is not waited for.
    let body = framed(&[&b"\x0a\x01a\x0a\x01b"[..], &filler(100_000)].concat());
    for size in [1, 11, 100, body.len()] {
        assert_eq!(read(&body[..15], size), name("b"));
    }
    let long = [&b"\x0a\x81\x02"[..], &[b'm'; 257]].concat();
    assert_eq!(read(&framed(&[&long[..], b"\x0a\x01b"].concat()), 3), name("b"));
    let lost = Ending::Lost("its model's name is too long");
    assert_eq!(read(&framed(&[b"\x0a\x01b", &long[..]].concat()), 3), lost);
}

#[test]
fn another_name_beyond_the_limit_is_refused_and_the_same_one_is_not() {
    let body = |second: &[u8]| framed(&[&b"\x0a\x01a"[..], &filler(5000), second, &filler(3000)].concat());
    for (second, ending) in [
        (&b"\x0a\x01b"[..], Ending::Refused),
        (b"\x0a\x00", Ending::Refused),
        (b"\x0a\x01a", name("a")),
        (b"\x12\x01b", name("a")),
        (b"\x0a\x01a\x0a\x01b", Ending::Refused),
        // Whether a server takes that for a name or refuses it is the server's business.
        (b"\x8a\x80\x80\x80\x80\x80\x80\x80\x80\x02\x01b", Ending::Refused),
    ] {
        let body = body(second);
        for size in [1, 2, 3, 7, 100, 4096, 5000, body.len()] {
            assert_eq!(read(&body, size), ending, "{second:?}, chunks of {size}");
        }
    }
    let long = [&b"\x0a\x81\x02"[..], &[b'a'; 257]].concat();
    assert_eq!(read(&body(&long), 1), Ending::Refused);
}

#[test]
fn a_message_without_a_name_is_for_the_model_that_something_else_names_unless_it_names_another_beyond_the_limit()
 {
    let far = |name: &[u8]| [&filler(5000)[..], name, &filler(3000)].concat();
    for (message, ending) in [
        (b"\x12\x01v".to_vec(), name("x")),
        (b"\x0a\x00".to_vec(), name("x")),
        (b"\x0a\x01a".to_vec(), name("a")),
        (b"\x0a\x01a\x0a\x00".to_vec(), name("x")),
        (far(b""), name("x")),
        (far(b"\x0a\x00"), name("x")),
        (far(b"\x0a\x01x"), name("x")),
        (far(b"\x0a\x01a"), Ending::Refused),
        (b"\x0f".to_vec(), Ending::Lost(BROKEN)),
    ] {
        let body = framed(&message);
        for size in [1, 2, 7, 100, 4096, body.len()] {
            assert_eq!(read_or_else("x", body.chunks(size), LIMIT), ending, "{message:?}, chunks of {size}");
        }
    }
}

#[test]
fn a_message_without_a_name_has_an_empty_one() {
    for message in [&b""[..], b"\x0a\x00", b"\x12\x01v", b"\x3a\x02ab\x3a\x02ab"] {
        for size in [1, 99] {
            assert_eq!(read(&framed(message), size), name(""));
        }
    }
}

#[test]
fn what_cannot_be_understood_says_so_at_once() {
    assert_eq!(read(b"\x01\x00\x00\x00\x09whatever!", 1), Ending::Lost("it is compressed"));
    for message in [
        &b"\x0a\x05abc"[..],
        b"\x00\x01",
        b"\x0e\x01\x01",
        b"\x0c\x01",
        b"\x0b\x10\x01",
        b"\x0b\x12\x01v",
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x51\x01",
        b"\x12",
    ] {
        let body = [&framed(message)[..], b"\0\0\0\0"].concat();
        for size in [1, 99] {
            assert_eq!(read(&body, size), Ending::Lost(BROKEN), "{message:?}");
        }
    }
    let long = ModelInferRequest { model_name: "m".repeat(257), ..Default::default() };
    assert_eq!(read(&framed(&long.encode_to_vec()), 1), Ending::Lost("its model's name is too long"));
}

#[test]
fn a_name_behind_a_long_tensor_is_given_up_at_once_even_if_it_is_at_hand() {
    let body = framed(&[&filler(100_000)[..], b"\x0a\x01m"].concat());
    for size in [1, 9, 1000, body.len()] {
        assert_eq!(read(&body, size), Ending::Lost(TOO_FAR), "chunks of {size}");
    }
    let pieces: Vec<&[u8]> = body.chunks(1000).collect();
    assert_eq!(Reader::new(LIMIT, Vec::new()).read(&pieces), Progress::Lost(TOO_FAR));
    // A byte decides: the tensor, its tag and length, the prefix and three bytes of the name's field.
    for (bytes, ending) in [(LIMIT - 11, name("m")), (LIMIT - 10, Ending::Lost(TOO_FAR))] {
        let body = framed(&[&filler(bytes)[..], b"\x0a\x01m"].concat());
        for size in [1, 9, 1000, LIMIT, body.len()] {
            assert_eq!(read(&body, size), ending, "{bytes} bytes, chunks of {size}");
        }
    }
}

/// Fields of a message, among them the name any number of times.
fn fields() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        "[ab]{0,2}"
            .prop_map(|name| ModelInferRequest { model_name: name, ..Default::default() }.encode_to_vec()),
        Just(b"\x0a\x00".to_vec()),
        (0usize..90).prop_map(filler),
        Just(b"\x0b\x0a\x01x\x0c".to_vec()),
        Just(b"\x08\x96\x01".to_vec()),
        Just(b"\x0d\x0a\x01x\x0a".to_vec()),
    ];
    prop::collection::vec(field, 0..8).prop_map(|fields| fields.concat())
}

/// Cuts at places that are given as random numbers.
fn cut<'a>(mut body: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for size in sizes {
        let (chunk, rest) = body.split_at((*size).min(body.len()));
        chunks.push(chunk);
        body = rest;
    }
    chunks.push(body);
    chunks
}

proptest! {
    #[test]
    fn whatever_is_routed_is_what_a_server_reads_and_every_chunking_ends_alike(
        message in fields(), limit in 64usize..200, sizes in prop::collection::vec(0usize..60, 0..12),
    ) {
        let body = framed(&message);
        let whole = read_with([&body[..]], limit);
        prop_assert_eq!(&read_with(body.chunks(1), limit), &whole);
        prop_assert_eq!(&read_with(cut(&body, &sizes), limit), &whole);
        // Groups and numbers in field 1 are what prost refuses, and other parsers skip.
        let decoded = ModelInferRequest::decode(&message[..]);
        match whole {
            Ending::Name(name) => if let Ok(decoded) = decoded { prop_assert_eq!(decoded.model_name, name) },
            Ending::Lost(why) => prop_assert!(why == TOO_FAR && body.len() > limit),
            Ending::Refused => prop_assert!(body.len() > limit),
            Ending::Early(_) => prop_assert!(false, "the message is whole"),
        }
    }

    #[test]
    fn every_message_gives_its_name_however_it_is_cut(
        model_name in "[a-z0-9./-]{0,40}", model_version in "[0-9]{0,4}",
        raw_input_contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
        size in 1usize..30,
    ) {
        let request = ModelInferRequest { model_name: model_name.clone(), model_version, raw_input_contents };
        prop_assert_eq!(read(&framed(&request.encode_to_vec()), size), name(&model_name));
    }

    #[test]
    fn no_bytes_do_harm_and_every_chunking_of_them_ends_alike(
        body in prop::collection::vec(any::<u8>(), 0..200), size in 1usize..10,
    ) {
        let whole = read_with([&framed(&body)[..]], 64);
        prop_assert_eq!(read_with(framed(&body).chunks(size), 64), whole);
        read(&body, size);
    }
}
