//! An answer's body, compressed on its way to the client.
//!
//! Where the headers go out with the body, a short answer stays as it is. Where they have gone before it, and have promised a
//! coding, a short one has that coding's form without being compressed: a compressor takes longer to set up than a short answer
//! takes to write.

use super::Coding;
use filter_api::{Charge, Sink};
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use std::ops::RangeInclusive;

/// How hard a compressor may try: from the fastest to the smallest.
pub(crate) const COMPRESSOR_LEVELS: RangeInclusive<u32> = 1..=9;

/// What a compressor holds, in bytes: a window and its chains, codes that wait, and its output.
const COMPRESSOR_BYTES: usize = 352 * 1024;

/// Compressed bytes are passed on in pieces of at most this many.
const PIECE_BYTES: usize = 16 * 1024;

/// The largest block of bytes that are not compressed (RFC 1951 section 3.2.4).
const STORED_BYTES: usize = 65_535;

/// The header of a gzip member without a name or a time, by an unknown system (RFC 1952 section 2.3).
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The header of zlib data with a window of 32 KiB, by the fastest algorithm (RFC 1950 section 2.2).
const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];

/// How an answer is compressed, if that pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The coding that the client likes best.
    pub(crate) coding: Coding,
    /// The length from which on it pays, in bytes.
    pub(crate) from_bytes: usize,
    /// One of [`COMPRESSOR_LEVELS`].
    pub(crate) level: u32,
}

/// Compresses one answer, if that pays.
#[derive(Debug)]
pub(crate) struct Press {
    plan: Plan,
    /// The headers have said that the answer has the plan's coding.
    promised: bool,
    stage: Stage,
    charge: Charge,
}

#[derive(Debug)]
enum Stage {
    /// So little has come that it may not pay.
    Short(Vec<u8>),
    /// The answer is as it is.
    Plain,
    /// It is compressed.
    Compressing(Box<Compressor>),
    /// It has the coding's form, and is not compressed.
    Storing(Check),
}

impl Press {
    /// What it holds is charged as `charge` is.
    pub(crate) fn new(plan: Plan, charge: Charge) -> Box<Self> {
        Box::new(Self { plan, promised: false, stage: Stage::Short(Vec::new()), charge })
    }

    /// The headers of the answer go out before it is written: the coding that they must name, if it pays. `bytes` is how long
    /// the answer is at least, if that is known.
    pub(crate) fn promise(&mut self, bytes: Option<usize>) -> Option<Coding> {
        self.promised = bytes.is_none_or(|bytes| bytes > 0 && bytes >= self.plan.from_bytes);
        self.promised.then_some(self.plan.coding)
    }

    /// Compresses what `write` writes, and passes on what there is of it.
    pub(crate) fn press(&mut self, write: impl FnOnce(&mut dyn Sink), out: &mut dyn Sink) {
        write(&mut Pressed { press: self, out });
    }

    fn write(&mut self, bytes: &[u8], out: &mut dyn Sink) {
        if let Stage::Short(held) = &mut self.stage {
            let is_short = held.len() + bytes.len() < self.plan.from_bytes;
            if is_short && self.charge.grow(bytes.len()).is_ok() {
                held.extend_from_slice(bytes);
                return;
            }
            let held = std::mem::take(held);
            self.stage = self.begin(out);
            self.put(&held, out);
        }
        self.put(bytes, out);
    }

    /// Switches to compression, or to the fallback if a compressor does not fit the memory budget.
    fn begin(&mut self, out: &mut dyn Sink) -> Stage {
        match self.charge.grow(COMPRESSOR_BYTES) {
            Ok(()) => Stage::Compressing(Compressor::new(self.plan, out)),
            Err(_) if self.promised => Stage::Storing(Check::begin(self.plan.coding, out)),
            Err(_) => Stage::Plain,
        }
    }

    fn put(&mut self, bytes: &[u8], out: &mut dyn Sink) {
        match &mut self.stage {
            Stage::Short(_) | Stage::Plain => out.write(bytes),
            Stage::Compressing(compressor) => compressor.write(bytes, out),
            Stage::Storing(check) => store(bytes, check, out),
        }
    }

    /// Ends the answer, and says how it is encoded.
    fn finish(mut self, out: &mut dyn Sink) -> Option<Coding> {
        if let Stage::Short(held) = &mut self.stage {
            let held = std::mem::take(held);
            self.stage = match self.promised {
                true => Stage::Storing(Check::begin(self.plan.coding, out)),
                false => Stage::Plain,
            };
            self.put(&held, out);
        }
        match self.stage {
            Stage::Short(_) | Stage::Plain => return None,
            Stage::Compressing(compressor) => compressor.finish(out),
            Stage::Storing(check) => {
                // A last block of nothing.
                out.write(&[1, 0, 0, 0xff, 0xff]);
                check.finish(out);
            }
        }
        Some(self.plan.coding)
    }
}

/// Writes the last part of an answer, compressed if there is a press, and says how the answer is encoded.
pub(crate) fn write_rest(
    press: Option<Box<Press>>,
    write: impl FnOnce(&mut dyn Sink),
    out: &mut dyn Sink,
) -> Option<Coding> {
    let Some(mut press) = press else {
        write(out);
        return None;
    };
    press.press(write, out);
    press.finish(out)
}

/// A press as a sink.
struct Pressed<'a> {
    press: &'a mut Press,
    out: &'a mut dyn Sink,
}

impl Sink for Pressed<'_> {
    fn write(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.press.write(bytes, self.out);
        }
    }
}

/// A compressor with its form around it.
#[derive(Debug)]
struct Compressor {
    compress: Compress,
    /// Of gzip; zlib's is the compressor's own.
    check: Option<Check>,
    piece: Vec<u8>,
}

impl Compressor {
    fn new(plan: Plan, out: &mut dyn Sink) -> Box<Self> {
        let check = match plan.coding {
            Coding::Gzip => Some(Check::begin(Coding::Gzip, out)),
            Coding::Deflate => None,
        };
        let compress = Compress::new(Compression::new(plan.level), check.is_none());
        Box::new(Self { compress, check, piece: Vec::with_capacity(PIECE_BYTES) })
    }

    fn write(&mut self, mut bytes: &[u8], out: &mut dyn Sink) {
        if let Some(check) = &mut self.check {
            check.add(bytes);
        }
        while !bytes.is_empty() {
            let before = self.compress.total_in();
            let result = self.compress.compress_vec(bytes, &mut self.piece, FlushCompress::None);
            let taken = (self.compress.total_in() - before) as usize;
            bytes = bytes.get(taken..).unwrap_or_default();
            let is_full = self.piece.len() == self.piece.capacity();
            if is_full {
                self.pass_on(out);
            }
            // A compressor that goes on takes bytes or gives some. The check sum would tell the client.
            if result.is_err() || taken == 0 && !is_full {
                return;
            }
        }
    }

    fn finish(mut self, out: &mut dyn Sink) {
        loop {
            let result = self.compress.compress_vec(&[], &mut self.piece, FlushCompress::Finish);
            let gives = !self.piece.is_empty();
            self.pass_on(out);
            if !matches!(result, Ok(Status::Ok | Status::BufError)) || !gives {
                break;
            }
        }
        if let Some(check) = self.check {
            check.finish(out);
        }
    }

    fn pass_on(&mut self, out: &mut dyn Sink) {
        out.write(&self.piece);
        self.piece.clear();
    }
}

/// Writes bytes as blocks that are not compressed.
fn store(bytes: &[u8], check: &mut Check, out: &mut dyn Sink) {
    check.add(bytes);
    for block in bytes.chunks(STORED_BYTES) {
        let [low, high] = (block.len() as u16).to_le_bytes();
        out.write(&[0, low, high, !low, !high]);
        out.write(block);
    }
}

/// The check sum at the end.
#[derive(Debug)]
enum Check {
    /// CRC-32 and the length (RFC 1952 section 2.3.1).
    Gzip(Crc),
    /// Adler-32, as its two sums (RFC 1950 section 8.2).
    Zlib(u32, u32),
}

impl Check {
    /// Begins data in a coding.
    fn begin(coding: Coding, out: &mut dyn Sink) -> Self {
        match coding {
            Coding::Gzip => {
                out.write(&GZIP_HEADER);
                Self::Gzip(Crc::new())
            }
            Coding::Deflate => {
                out.write(&ZLIB_HEADER);
                Self::Zlib(1, 0)
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        /// So many bytes can be added before a sum of 32 bits runs over.
        const ADLER_BYTES: usize = 5552;
        const ADLER_MODULUS: u32 = 65_521;
        match self {
            Self::Gzip(crc) => crc.update(bytes),
            Self::Zlib(a, b) => {
                for part in bytes.chunks(ADLER_BYTES) {
                    for byte in part {
                        *a += u32::from(*byte);
                        *b += *a;
                    }
                    *a %= ADLER_MODULUS;
                    *b %= ADLER_MODULUS;
                }
            }
        }
    }

    fn finish(self, out: &mut dyn Sink) {
        match self {
            Self::Gzip(crc) => {
                out.write(&crc.sum().to_le_bytes());
                out.write(&crc.amount().to_le_bytes());
            }
            Self::Zlib(a, b) => out.write(&(b << 16 | a).to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filter_api::{Memory, SEGMENT_BYTES};
    use flate2::read::{GzDecoder, ZlibDecoder};
    use proptest::prelude::*;
    use std::io::Read as _;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const BOTH: [Coding; 2] = [Coding::Gzip, Coding::Deflate];

    fn plan(coding: Coding, from_bytes: usize) -> Plan {
        Plan { coding, from_bytes, level: 1 }
    }

    /// How an answer that is written in such pieces is encoded, and what the client gets.
    fn pressed(
        plan: Plan,
        promised: bool,
        room: usize,
        body: &[u8],
        step: usize,
    ) -> (Option<Coding>, Vec<u8>) {
        let memory = Memory::new(room);
        let mut out = Vec::new();
        let mut press = Press::new(plan, memory.account(usize::MAX).charge());
        if promised {
            assert_eq!(press.promise(None), Some(plan.coding));
        }
        let (first, rest) = body.split_at(body.len() / 2);
        press.press(|sink| first.chunks(step).for_each(|piece| sink.write(piece)), &mut out);
        let write = |sink: &mut dyn Sink| rest.chunks(step).for_each(|piece| sink.write(piece));
        let coding = write_rest(Some(press), write, &mut out);
        assert_eq!(memory.used(), 0);
        (coding, out)
    }

    fn decoded(coding: Option<Coding>, bytes: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        match coding {
            None => body.extend_from_slice(bytes),
            Some(Coding::Gzip) => drop(GzDecoder::new(bytes).read_to_end(&mut body).unwrap()),
            Some(Coding::Deflate) => drop(ZlibDecoder::new(bytes).read_to_end(&mut body).unwrap()),
        }
        body
    }

    #[test]
    fn an_answer_is_compressed_from_the_length_on_from_which_it_pays() {
        for coding in BOTH {
            for (length, expected) in
                [(0, None), (1, None), (999, None), (1000, Some(coding)), (5000, Some(coding))]
            {
                for step in [1, 300, 10_000] {
                    let body = b"0.25,".repeat(length).split_off(4 * length);
                    let (found, bytes) = pressed(plan(coding, 1000), false, 1 << 20, &body, step);
                    assert_eq!(found, expected, "{length} bytes in pieces of {step}");
                    assert_eq!(decoded(found, &bytes), body);
                    assert!(found.is_none() || bytes.len() < 100, "{}", bytes.len());
                }
            }
        }
    }

    #[test]
    fn a_short_answer_whose_coding_was_promised_has_its_form() {
        for coding in BOTH {
            for body in [&b""[..], b"{}", &[b'x'; 999]] {
                let (found, bytes) = pressed(plan(coding, 1000), true, 1 << 20, body, 7);
                assert_eq!((found, decoded(found, &bytes)), (Some(coding), body.to_vec()));
                assert!(bytes.len() <= body.len() + 40, "{} of {}", bytes.len(), body.len());
            }
        }
    }

    #[test]
    fn without_room_for_a_compressor_an_answer_stays_as_it_is_or_keeps_its_promise() {
        let body = vec![b'1'; 3 * SEGMENT_BYTES];
        for coding in BOTH {
            let room = COMPRESSOR_BYTES - 1;
            assert_eq!(pressed(plan(coding, 10), false, room, &body, SEGMENT_BYTES), (None, body.clone()));
            let (found, bytes) = pressed(plan(coding, 10), true, room, &body, SEGMENT_BYTES);
            assert_eq!((found, decoded(found, &bytes)), (Some(coding), body.clone()));
            // Nor for what is short.
            let (found, bytes) = pressed(plan(coding, 1000), false, 5, b"{\"a\": 1}", 3);
            assert_eq!((found, &bytes[..]), (None, &b"{\"a\": 1}"[..]));
        }
    }

    #[test]
    fn a_promise_goes_by_what_is_known_of_the_length() {
        let memory = Memory::new(1 << 20);
        let promise = |from_bytes, bytes| {
            Press::new(plan(Coding::Gzip, from_bytes), memory.account(usize::MAX).charge()).promise(bytes)
        };
        assert_eq!(promise(1000, None), Some(Coding::Gzip));
        assert_eq!(promise(1000, Some(1000)), Some(Coding::Gzip));
        assert_eq!(promise(1000, Some(999)), None);
        assert_eq!(promise(0, Some(1)), Some(Coding::Gzip));
        assert_eq!(promise(0, Some(0)), None);
    }

    proptest! {
        // Each makes a compressor, which is slow without optimisation.
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn whatever_is_compressed_comes_out_again(
            body in proptest::collection::vec(any::<u8>(), 0..20_000),
            step in 1..30_000_usize,
            from_bytes in 0..3000_usize,
            level in COMPRESSOR_LEVELS,
            promised in any::<bool>(),
            enough in any::<bool>(),
            gzip in any::<bool>(),
        ) {
            let coding = BOTH[usize::from(gzip)];
            let room = if enough { 1 << 20 } else { 2000 };
            let (found, bytes) = pressed(Plan { coding, from_bytes, level }, promised, room, &body, step);
            prop_assert!(found.is_some() || !promised);
            prop_assert_eq!(decoded(found, &bytes), body);
        }
    }
}
