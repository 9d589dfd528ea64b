//! Elements of a BYTES tensor.

use crate::tensor::lengths::{Step, Walk};
use crate::tensor::text::base64::{self, Decoder};
use crate::tensor::text::string::{self, StringReader};
use filter_api::{Buffer, Charge, OverBudget, Rope, Sink};

/// Collects one string after the other; each goes out with its length in front.
#[derive(Debug)]
pub(super) struct Strings {
    pub(super) text: StringReader,
    /// The text is base64, and its bytes are the element.
    base64: Option<Decoder>,
    /// The start of the element.
    start: Buffer,
    /// The whole of a long element, so that it is moved and not copied.
    long: Option<Rope>,
    charge: Charge,
}

/// An element that grows longer than this goes into a rope of its own, in bytes.
const LONG_BYTES: usize = 64 * 1024;

/// What is wrong with a string that should be base64.
pub(super) const NOT_BASE64: &str = "the string is not valid base64";

/// An element that is there as a whole is written at once, if its text is no longer than this, in bytes.
const SHORT_BYTES: usize = 1024;

/// Decoded elements are collected here before they go to the rope.
pub(super) struct Batch {
    bytes: [u8; BATCH_BYTES + ELEMENT_BYTES],
    len: usize,
}

/// At so many bytes they go to the rope.
const BATCH_BYTES: usize = 1024;

/// What one element takes: its length, and room for a short text.
const ELEMENT_BYTES: usize = 4 + SHORT_BYTES + base64::ROOM;

impl Batch {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; BATCH_BYTES + ELEMENT_BYTES], len: 0 }
    }

    /// Lets `decode` write the next element; it gives the element's length, with something of its own, or nothing.
    #[inline(always)]
    fn add<T>(
        &mut self,
        out: &mut Rope,
        decode: impl FnOnce(&mut [u8]) -> Option<(T, usize)>,
    ) -> Result<Option<T>, OverBudget> {
        if self.len > BATCH_BYTES {
            self.flush(out)?;
        }
        let Some((length, room)) = self.bytes[self.len..].split_first_chunk_mut() else { return Ok(None) };
        let Some((own, len)) = decode(room) else { return Ok(None) };
        *length = (len as u32).to_le_bytes();
        self.len += 4 + len;
        Ok(Some(own))
    }

    /// Writes what has been collected to `out`; so before anything else is written there.
    pub(super) fn flush(&mut self, out: &mut Rope) -> Result<(), OverBudget> {
        out.push(&self.bytes[..std::mem::take(&mut self.len)])
    }
}

impl Strings {
    pub(super) fn new(base64: bool, charge: &Charge) -> Self {
        Self {
            text: StringReader::default(),
            base64: base64.then(Decoder::default),
            start: Buffer::new(charge.sibling()),
            long: None,
            charge: charge.sibling(),
        }
    }

    /// Writes the string at the front of `text`, behind its opening quote, to `batch` if it is a simple one that is
    /// there as a whole; says how long it is with its closing quote.
    pub(super) fn whole(
        &mut self,
        text: &[u8],
        out: &mut Rope,
        batch: &mut Batch,
    ) -> Result<Option<usize>, OverBudget> {
        if self.are_base64() {
            let len = batch.add(out, |room| base64::decode_to_quote(text, room))?;
            return Ok(len.map(|len| len + 1));
        }
        let Some((len, plain)) = string::whole(text, SHORT_BYTES) else { return Ok(None) };
        let len_of = |room: &mut [u8]| Some(((), string::unescape(text, len, plain, room)?));
        Ok(batch.add(out, len_of)?.map(|()| len + 1))
    }

    /// Whether the text is base64, and its bytes are the element.
    pub(super) fn are_base64(&self) -> bool {
        self.base64.is_some()
    }

    /// Adds a piece of the current string.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), OverBudget> {
        match &mut self.base64 {
            None => keep(&mut self.start, &mut self.long, &self.charge, bytes),
            Some(decoder) => {
                for piece in bytes.chunks(1024) {
                    let mut out = [0; 1026];
                    let len = decoder.push(piece, &mut out);
                    keep(&mut self.start, &mut self.long, &self.charge, &out[..len])?;
                }
                Ok(())
            }
        }
    }

    /// Ends the current string and writes it to `out`; the inner error says what is wrong with it.
    pub(super) fn end(&mut self, out: &mut Rope) -> Result<Result<(), &'static str>, OverBudget> {
        if let Err(message) = self.end_base64()? {
            return Ok(Err(message));
        }
        let len = self.long.as_ref().map_or(self.start.len(), Rope::len);
        let Ok(len) = u32::try_from(len) else { return Ok(Err("an element is longer than 4 GiB")) };
        out.push(&len.to_le_bytes())?;
        match self.long.take() {
            Some(long) => out.append(long),
            None => out.push(self.start.as_slice())?,
        }
        self.start.clear();
        Ok(Ok(()))
    }

    /// Ends the current string and gives it by itself, without its length.
    pub(super) fn end_alone(&mut self) -> Result<Result<Rope, &'static str>, OverBudget> {
        if let Err(message) = self.end_base64()? {
            return Ok(Err(message));
        }
        if let Some(long) = self.long.take() {
            self.start.clear();
            return Ok(Ok(long));
        }
        let mut alone = Rope::new(self.charge.sibling());
        alone.push(self.start.as_slice())?;
        self.start.clear();
        Ok(Ok(alone))
    }

    fn end_base64(&mut self) -> Result<Result<(), &'static str>, OverBudget> {
        let Some(decoder) = &mut self.base64 else { return Ok(Ok(())) };
        let mut rest = [0; 4];
        match std::mem::take(decoder).end(&mut rest) {
            Some(len) => {
                keep(&mut self.start, &mut self.long, &self.charge, &rest[..len])?;
                Ok(Ok(()))
            }
            None => Ok(Err(NOT_BASE64)),
        }
    }
}

fn keep(
    start: &mut Buffer,
    long: &mut Option<Rope>,
    charge: &Charge,
    bytes: &[u8],
) -> Result<(), OverBudget> {
    if let Some(long) = long {
        return long.push(bytes);
    }
    if start.len() + bytes.len() <= LONG_BYTES {
        return start.push(bytes);
    }
    let mut rope = Rope::new(charge.sibling());
    rope.push(start.as_slice())?;
    rope.push(bytes)?;
    *long = Some(rope);
    Ok(())
}

/// Decodes elements that are base64, with their lengths in front; the inner error is the number of one that is not
/// valid.
pub(super) fn from_base64(mut text: Rope, charge: &Charge) -> Result<Result<Rope, u64>, OverBudget> {
    let mut decode = Decode {
        walk: Walk::default(),
        strings: Strings::new(true, charge),
        batch: Batch::new(),
        out: Rope::new(charge.sibling()),
        count: 0,
        result: Ok(Ok(())),
    };
    text.drain_to(&mut decode);
    let Decode { out, result, .. } = decode;
    Ok(result?.map(|()| out))
}

struct Decode {
    walk: Walk,
    strings: Strings,
    batch: Batch,
    out: Rope,
    /// How many elements have been decoded.
    count: u64,
    result: Result<Result<(), u64>, OverBudget>,
}

impl Decode {
    fn take(&mut self, mut bytes: &[u8]) -> Result<Result<(), u64>, OverBudget> {
        loop {
            while let Some((text, len)) = self.walk.whole(&mut bytes, SHORT_BYTES) {
                let decode = |room: &mut [u8]| Some(((), base64::decode(&text[..len], room)?));
                let decoded = self.batch.add(&mut self.out, decode)?;
                if decoded.is_none() {
                    return Ok(Err(self.count));
                }
                self.count += 1;
            }
            let Some(step) = self.walk.next(&mut bytes) else { break };
            let ends = match step {
                Step::Start => self.walk.at_end(),
                Step::Piece(piece, last) => {
                    self.strings.push(piece)?;
                    last
                }
            };
            if ends {
                self.batch.flush(&mut self.out)?;
                if self.strings.end(&mut self.out)?.is_err() {
                    return Ok(Err(self.count));
                }
                self.count += 1;
            }
        }
        self.batch.flush(&mut self.out)?;
        Ok(Ok(()))
    }
}

impl Sink for Decode {
    fn write(&mut self, bytes: &[u8]) {
        if let Ok(Ok(())) = self.result {
            self.result = self.take(bytes);
        }
    }
}
