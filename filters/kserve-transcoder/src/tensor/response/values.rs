//! The elements of an output, written one by one.

use super::model::Tensor;
use super::print::{Bool, Float, Print, Printer, Signed, Special, Unsigned};
use crate::tensor::NonFinite;
use crate::tensor::datatype::Datatype;
use crate::tensor::number::float16;
use crate::tensor::text::base64::Encoder;
use filter_api::Rope;

/// The values of an output that are still to be written.
pub(super) struct Values<'a> {
    pub(super) name: &'a [u8],
    /// The shape of one of them.
    pub(super) shape: &'a [u64],
    datatype: Datatype,
    non_finite: NonFinite,
    /// BYTES are `{"b64": "<base64>"}`.
    binary: bool,
    segments: Box<dyn Iterator<Item = &'a [u8]> + 'a>,
    /// What is left of the segment that was begun.
    here: &'a [u8],
}

impl<'a> Values<'a> {
    /// The values of an output that has been checked; `binary` says that its elements are bytes and not text.
    pub(super) fn of(tensor: &'a Tensor, binary: bool, non_finite: NonFinite) -> Self {
        let raw: &Rope = &tensor.raw;
        Self {
            name: tensor.output.name.as_slice(),
            shape: &tensor.output.shape,
            datatype: tensor.datatype,
            non_finite,
            binary,
            segments: Box::new(raw.segments()),
            here: &[],
        }
    }

    /// Writes the next value, and a comma.
    pub(super) fn write(&mut self, printer: &mut Printer<'_>) {
        self.write_lists(self.shape, printer);
    }

    fn write_lists(&mut self, shape: &[u64], printer: &mut Printer<'_>) {
        let Some((size, inner)) = shape.split_first() else { return self.write_element(printer) };
        printer.text(b"[");
        for _ in 0..*size {
            self.write_lists(inner, printer);
        }
        // None is there to take back in a list without items, which ends in its bracket.
        printer.drop_comma();
        printer.text(b"],");
    }

    fn write_element(&mut self, printer: &mut Printer<'_>) {
        match self.datatype {
            Datatype::Bool => self.write_number(Bool, printer),
            Datatype::Int8 => self.write_number::<1>(Signed, printer),
            Datatype::Int16 => self.write_number::<2>(Signed, printer),
            Datatype::Int32 => self.write_number::<4>(Signed, printer),
            Datatype::Int64 => self.write_number::<8>(Signed, printer),
            Datatype::Uint8 => self.write_number::<1>(Unsigned, printer),
            Datatype::Uint16 => self.write_number::<2>(Unsigned, printer),
            Datatype::Uint32 => self.write_number::<4>(Unsigned, printer),
            Datatype::Uint64 => self.write_number::<8>(Unsigned, printer),
            Datatype::Fp16 => self.write_number::<2>(Special::new(float16::FP16, self.non_finite), printer),
            Datatype::Bf16 => self.write_number::<2>(Special::new(float16::BF16, self.non_finite), printer),
            Datatype::Fp32 => self.write_number::<4>(Special::new(Float, self.non_finite), printer),
            Datatype::Fp64 => self.write_number::<8>(Special::new(Float, self.non_finite), printer),
            Datatype::Bytes => self.write_bytes(printer),
        }
    }

    fn write_number<const SIZE: usize>(&mut self, print: impl Print<SIZE>, printer: &mut Printer<'_>) {
        let raw = self.take();
        printer.number(|slot| print.print(raw, slot));
    }

    fn write_bytes(&mut self, printer: &mut Printer<'_>) {
        let mut left = u32::from_le_bytes(self.take()) as usize;
        let mut encoder = self.binary.then(Encoder::default);
        printer.text(if self.binary { b"{\"b64\":\"" } else { b"\"" });
        while left > 0 {
            let piece = self.piece(left);
            // The check has seen all of them.
            if piece.is_empty() {
                break;
            }
            left -= piece.len();
            match &mut encoder {
                None => printer.escaped(piece),
                Some(encoder) => encoder.push(piece, |text| printer.text(text)),
            }
        }
        if let Some(mut encoder) = encoder {
            encoder.end(|text| printer.text(text));
        }
        printer.text(if self.binary { b"\"}," } else { b"\"," });
    }

    /// The next bytes of the raw contents, whose number has been checked.
    fn take<const SIZE: usize>(&mut self) -> [u8; SIZE] {
        if let Some((raw, rest)) = self.here.split_first_chunk() {
            self.here = rest;
            return *raw;
        }
        let (mut raw, mut have) = ([0; SIZE], 0);
        while have < SIZE {
            let piece = self.piece(SIZE - have);
            if piece.is_empty() {
                break;
            }
            raw[have..have + piece.len()].copy_from_slice(piece);
            have += piece.len();
        }
        raw
    }

    /// The next bytes, at most so many; none at the end.
    fn piece(&mut self, most: usize) -> &'a [u8] {
        while self.here.is_empty() {
            match self.segments.next() {
                Some(segment) => self.here = segment,
                None => return &[],
            }
        }
        let (piece, rest) = self.here.split_at(most.min(self.here.len()));
        self.here = rest;
        piece
    }
}
