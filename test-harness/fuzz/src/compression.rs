//! Bodies of requests and a server's messages, compressed, against the same bytes as they are.
//!
//! What is compressed is either made here of plain bytes, so that the two exchanges must be the same, or is the input
//! itself: then flate2's own readers say what is in it.

use crate::run::{Setup, assert_same, inference, run};
use crate::{seeds, stream};
use flate2::bufread::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, GzBuilder};
use std::io::{Read as _, Write as _};
use testkit::{Case, Chunking, frame};

/// Of an input's first byte: what is compressed, by the rest of a division by three, and how.
const DEFLATE: u8 = 0x80;
/// The input is the compressed bytes.
const RAW: u8 = 0x40;
/// Gzip in two members, the first with everything that its header can have.
const TWO_MEMBERS: u8 = 0x20;

/// More than that is not decompressed here, in bytes.
const MOST: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Request,
    Answer,
    Stream,
}

impl What {
    fn of(flags: u8) -> Self {
        [Self::Request, Self::Answer, Self::Stream][usize::from(flags & 0x1f) % 3]
    }

    fn setup(self, number: u8) -> Setup {
        match self {
            Self::Request | Self::Answer => Setup::ALL[usize::from(number) % Setup::ALL.len()],
            Self::Stream => Setup::STREAMS[usize::from(number) % Setup::STREAMS.len()],
        }
    }
}

/// As the first bytes of an input are: flags, the setup, and a seed for the chunks.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let of = [
        (0, seeds::requests().into_iter().step_by(5).map(|seed| seed[4..].to_vec()).collect()),
        (1, seeds::answers().into_iter().step_by(5).map(|seed| seed[2..].to_vec()).collect()),
        (2, stream::seeds().into_iter().step_by(5).map(|seed| seed[2..].to_vec()).collect::<Vec<_>>()),
    ];
    for (kind, plain) in of {
        for (number, plain) in plain.into_iter().enumerate() {
            for flags in [0, DEFLATE, TWO_MEMBERS] {
                seeds.push([&[flags | kind, number as u8, 1][..], &plain].concat());
                if kind < 2 && number % 4 == 0 {
                    let compressed = compressed(flags, &plain);
                    seeds.push([&[RAW | flags | kind, number as u8, 1][..], &compressed].concat());
                }
            }
        }
    }
    seeds
}

/// Checks an input; one that is too short for its fields is skipped.
pub(crate) fn check(input: &[u8]) {
    let Some((&[flags, setup, seed], bytes)) = input.split_first_chunk() else { return };
    let what = What::of(flags);
    let setup = what.setup(setup);
    if bytes.is_empty() {
        return;
    }
    let (compressed, plain) = match (flags & RAW != 0, what) {
        (true, What::Stream) => return,
        (true, _) => match decompressed(flags, bytes) {
            Decompressed::Plain(plain) => (bytes.to_vec(), Some(plain)),
            Decompressed::Damaged => (bytes.to_vec(), None),
            Decompressed::TooMuch => return,
        },
        (false, What::Stream) => match compressed_frames(flags, bytes) {
            Some(compressed) => (compressed, Some(bytes.to_vec())),
            None => return,
        },
        (false, _) => (compressed(flags, bytes), Some(bytes.to_vec())),
    };
    let case = case(what, Some(flags), &compressed);
    let ways = [Chunking::Whole, Chunking::Random(seed.into()), Chunking::Bytes];
    let outcomes = ways.map(|chunking| run(&case, setup, chunking));
    let Some(plain) = plain else {
        for outcome in &outcomes {
            let refused = outcome.got.reset || outcome.got.status >= 400;
            assert!(refused, "{what:?}, {setup:?}: damaged, and taken: {compressed:02x?}\n{outcome:?}");
        }
        return;
    };
    let expected = run(&self::case(what, None, &plain), setup, Chunking::Whole);
    for (chunking, outcome) in ways.into_iter().zip(outcomes) {
        assert_same(&expected, &outcome, &(what, setup, chunking, &plain));
    }
}

/// An exchange with a body, or an answer, that is compressed as these flags say.
fn case(what: What, compressed: Option<u8>, bytes: &[u8]) -> Case {
    let mut case = inference();
    case.request.body.bytes = br#"{"inputs":[]}"#.to_vec();
    let answer = case.answer.as_mut().expect("it has one");
    let header = |name: &str, flags: u8| {
        (name.to_owned(), if flags & DEFLATE != 0 { "deflate" } else { "gzip" }.to_owned())
    };
    match what {
        What::Request => {
            case.request.headers.extend(compressed.map(|flags| header("content-encoding", flags)));
            case.request.body.bytes = bytes.to_vec();
            answer.body.bytes = frame(&[]);
        }
        What::Answer => {
            let mut message = frame(bytes);
            message[0] = compressed.is_some().into();
            answer.headers.extend(compressed.map(|flags| header("grpc-encoding", flags)));
            answer.body.bytes = message;
        }
        What::Stream => {
            case.request.path.push_str("_stream");
            answer.headers.extend(compressed.map(|flags| header("grpc-encoding", flags)));
            answer.body.bytes = bytes.to_vec();
        }
    }
    case
}

fn compressed(flags: u8, plain: &[u8]) -> Vec<u8> {
    let level = Compression::new(u32::from(flags & 0x1f) % 10);
    if flags & DEFLATE != 0 {
        let mut encoder = ZlibEncoder::new(Vec::new(), level);
        encoder.write_all(plain).expect("a vector takes all");
        return encoder.finish().expect("a vector takes all");
    }
    let (first, second) = match flags & TWO_MEMBERS != 0 {
        true => plain.split_at(plain.len() / 2),
        false => (&b""[..], plain),
    };
    let mut out = Vec::new();
    if flags & TWO_MEMBERS != 0 {
        let header = GzBuilder::new().filename("a").comment("b").extra(vec![7; 9]).mtime(1);
        let mut encoder = header.write(&mut out, level);
        encoder.write_all(first).expect("a vector takes all");
        encoder.finish().expect("a vector takes all");
    }
    let mut encoder = GzEncoder::new(&mut out, level);
    encoder.write_all(second).expect("a vector takes all");
    encoder.finish().expect("a vector takes all");
    out
}

/// The messages of a stream, each of them compressed; what is no message stays as it is. `None` if it says itself that it is
/// compressed.
fn compressed_frames(flags: u8, mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let before = bytes;
        let Some(message) = stream::taken(&mut bytes) else {
            return (before.first() != Some(&1)).then(|| [&out, before].concat());
        };
        let mut frame = frame(&compressed(flags, message));
        frame[0] = 1;
        out.append(&mut frame);
    }
}

enum Decompressed {
    Plain(Vec<u8>),
    Damaged,
    TooMuch,
}

/// What is in compressed bytes, of which none may be left over.
fn decompressed(flags: u8, bytes: &[u8]) -> Decompressed {
    let mut plain = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let read = match flags & DEFLATE != 0 {
            true => ZlibDecoder::new(&mut rest).take(MOST + 1).read_to_end(&mut plain),
            false => GzDecoder::new(&mut rest).take(MOST + 1).read_to_end(&mut plain),
        };
        if plain.len() as u64 > MOST {
            return Decompressed::TooMuch;
        }
        if read.is_err() || flags & DEFLATE != 0 && !rest.is_empty() {
            return Decompressed::Damaged;
        }
    }
    Decompressed::Plain(plain)
}
