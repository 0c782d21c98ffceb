//! Matrix products of a warp, and what loads and stores their fragments.

use super::function::Decoder;
use super::operand::Width;
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::{Operand, Type};
use crate::program::{AddressSpace, Element, MatrixMove, MatrixProduct, Operation, Register, Row};
use crate::{ParseError, ParseErrorKind};

fn element(name: &str) -> Option<Element> {
    Some(match name {
        "s4" => Element::S4,
        "u4" => Element::U4,
        "s8" => Element::S8,
        "u8" => Element::U8,
        "f16" => Element::F16,
        "bf16" => Element::Bf16,
        "tf32" => Element::Tf32,
        "f32" => Element::F32,
        "f64" => Element::F64,
        "s32" => Element::S32,
        _ => return None,
    })
}

fn shape(name: &str) -> Option<(usize, usize, usize)> {
    let (rows, rest) = name.strip_prefix('m')?.split_once('n')?;
    let (columns, depth) = rest.split_once('k')?;
    Some((rows.parse().ok()?, columns.parse().ok()?, depth.parse().ok()?))
}

/// The oldest card with a product of these inputs and this shape.
fn oldest(inputs: (Element, Element), shape: (usize, usize, usize)) -> Option<u32> {
    use Element::{Bf16, F16, F64, S4, S8, Tf32, U4, U8};
    Some(match (inputs, shape) {
        ((F16, F16), (16, 8, 8)) => 75,
        ((F16, F16) | (Bf16, Bf16), (16, 8, 16)) | ((Bf16, Bf16), (16, 8, 8)) => 80,
        ((Tf32, Tf32), (16, 8, 4 | 8)) | ((F64, F64), (8, 8, 4)) => 80,
        ((F64, F64), (16, 8, 4 | 8 | 16)) => 90,
        ((S8 | U8, S8 | U8), (8, 8, 16)) | ((S4 | U4, S4 | U4), (8, 8, 32)) => 75,
        ((S8 | U8, S8 | U8), (16, 8, 16 | 32)) | ((S4 | U4, S4 | U4), (16, 8, 32 | 64)) => 80,
        _ => return None,
    })
}

impl<'a> Decoder<'_, 'a> {
    /// `mma.sync`
    pub fn matrix_product(
        &mut self,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
    ) -> Result<(), ParseError> {
        if !m.flag("sync") || !m.flag("aligned") {
            return Err(m.refuse("`mma` exists as `mma.sync.aligned` alone".to_owned()));
        }
        let shape = m
            .find(shape)
            .ok_or_else(|| m.refuse("`mma` needs a shape such as .m16n8k32".to_owned()))?;
        if m.flag("sp") {
            return Err(self.error(
                ParseErrorKind::NotImplemented,
                "sparse matrix products are not implemented",
            ));
        }
        if !m.flag("row") || !m.flag("col") {
            return Err(m.refuse("`mma` exists as .row.col alone".to_owned()));
        }
        let saturate = m.flag("satfinite");
        let mut next = || m.find(element).ok_or(());
        let types = (next(), next(), next(), next());
        let (Ok(output), Ok(a), Ok(b), Ok(sum)) = types else {
            return Err(m.refuse("`mma` needs four types".to_owned()));
        };
        let least = oldest((a, b), shape).ok_or_else(|| {
            self.error(
                ParseErrorKind::NotImplemented,
                "this shape and these types of `mma` are not implemented",
            )
        })?;
        m.need_target(least)?;
        let integers = matches!(a, Element::S8 | Element::U8 | Element::S4 | Element::U4);
        let fits = match (output, sum) {
            (Element::S32, Element::S32) => integers,
            (Element::F32, Element::F32) => !integers && a != Element::F64,
            (Element::F64, Element::F64) => a == Element::F64,
            (Element::F16 | Element::F32, Element::F16 | Element::F32) => a == Element::F16,
            _ => false,
        };
        if !fits || saturate && !integers {
            return Err(m.refuse("`mma` has no product with these types".to_owned()));
        }
        self.expect_operands(operands, 4..=4)?;
        let (rows, columns, depth) = shape;
        let sizes = [
            (rows * columns, output),
            (rows * depth, a),
            (depth * columns, b),
            (rows * columns, sum),
        ];
        let mut registers: [Vec<Register>; 4] = Default::default();
        for (i, (elements, kind)) in sizes.into_iter().enumerate() {
            let count = elements * bits(kind) / 32 / if kind == Element::F64 { 64 } else { 32 };
            registers[i] = self.fragment(&operands[i], count, kind, i == 0)?;
        }
        let product = MatrixProduct {
            shape,
            inputs: (a, b),
            output,
            sum,
            saturate,
            registers,
        };
        self.emit(Operation::MatrixProduct(Box::new(product)), Class::Tensor);
        Ok(())
    }

    fn fragment(
        &mut self,
        operand: &Operand<'a>,
        count: usize,
        kind: Element,
        to: bool,
    ) -> Result<Vec<Register>, ParseError> {
        let kind = if kind == Element::F64 {
            Type::F64
        } else {
            Type::B32
        };
        let single;
        let parts: &[Operand<'a>] = match operand {
            Operand::Vector(parts) => parts,
            other => {
                single = [other.clone()];
                &single
            }
        };
        if parts.len() != count {
            let message = format!(
                "a fragment of {} registers where {count} are expected",
                parts.len()
            );
            return Err(self.error(ParseErrorKind::Operand, message));
        }
        let each = |part| {
            if to {
                self.destination(part, kind, Width::Same)
            } else {
                self.source(part, kind, Width::Same)
            }
        };
        parts.iter().map(each).collect()
    }

    /// `ldmatrix` and `stmatrix`
    pub fn matrix_move(
        &mut self,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
        load: bool,
    ) -> Result<(), ParseError> {
        m.need_target(if load { 75 } else { 90 })?;
        if !m.flag("sync") || !m.flag("aligned") || !m.flag("m8n8") {
            return Err(m.refuse("this exists as .sync.aligned.m8n8 alone".to_owned()));
        }
        let count = m.required(&[("x1", 1), ("x2", 2), ("x4", 4)])?;
        let transposed = m.flag("trans");
        let space = Self::space(m);
        if !matches!(space, AddressSpace::Shared | AddressSpace::Generic) {
            return Err(m.refuse("matrices lie in shared memory".to_owned()));
        }
        if m.kind()? != Type::B16 {
            return Err(m.bad_type(Type::B32));
        }
        self.expect_operands(operands, 2..=2)?;
        let (registers, address) = if load {
            (&operands[0], &operands[1])
        } else {
            (&operands[1], &operands[0])
        };
        let registers = self.fragment(registers, count, Element::F16, load)?;
        let registers: Vec<Row> = registers
            .into_iter()
            .map(|register| {
                let (Register::P(row) | Register::W(row) | Register::D(row)) = register;
                row
            })
            .collect();
        let (address, _) = self.address(address)?;
        let operation = MatrixMove {
            load,
            transposed,
            space,
            address,
            registers,
        };
        self.emit(Operation::MatrixMove(Box::new(operation)), Class::Shared);
        Ok(())
    }

    /// `movmatrix`
    pub fn matrix_transpose(
        &mut self,
        m: &mut Modifiers<'_>,
        operands: &[Operand<'a>],
    ) -> Result<(), ParseError> {
        m.need_target(75)?;
        let whole = m.flag("sync") && m.flag("aligned") && m.flag("m8n8") && m.flag("trans");
        if !whole || m.kind()? != Type::B16 {
            return Err(m.refuse("`movmatrix` exists as .sync.aligned.m8n8.trans.b16 alone".to_owned()));
        }
        self.expect_operands(operands, 2..=2)?;
        let from = self.narrow(&operands[1], Type::B32, Width::Same)?;
        let to = self.narrow_to(&operands[0], Type::B32)?;
        self.emit(Operation::MatrixTranspose { to, from }, Class::Warp);
        Ok(())
    }
}

/// Bits of an element.
pub fn bits(kind: Element) -> usize {
    match kind {
        Element::S4 | Element::U4 => 4,
        Element::S8 | Element::U8 => 8,
        Element::F16 | Element::Bf16 => 16,
        Element::Tf32 | Element::F32 | Element::S32 => 32,
        Element::F64 => 64,
    }
}
