//! One instruction: to the family it belongs to.

use super::function::Decoder;
use super::operand::Width;
use crate::arith::{self, Chosen};
use crate::counters::Class;
use crate::modifiers::Modifiers;
use crate::parse::tree::{Instruction, Operand, Type};
use crate::program::{Operation, Register};
use crate::{ParseError, ParseErrorKind};

/// Instructions of PTX 8.0 that this machine lacks: those of textures and surfaces, of video, the older matrix
/// products, and those that only clusters of `sm_90` have.
const NOT_IMPLEMENTED: [&str; 36] = [
    "tex",
    "tld4",
    "txq",
    "istypep",
    "suld",
    "sust",
    "sured",
    "suq",
    "wmma",
    "wgmma",
    "mbarrier",
    "mapa",
    "getctarank",
    "setmaxnreg",
    "stacksave",
    "stackrestore",
    "alloca",
    "vadd",
    "vsub",
    "vabsdiff",
    "vmin",
    "vmax",
    "vshl",
    "vshr",
    "vmad",
    "vset",
    "vadd2",
    "vsub2",
    "vavrg2",
    "vabsdiff2",
    "vmin2",
    "vmax2",
    "vset2",
    "vadd4",
    "vabsdiff4",
    "multimem",
];

impl<'a> Decoder<'_, 'a> {
    /// Decodes one instruction.
    pub fn instruction(&mut self, instruction: &Instruction<'a>) -> Result<(), ParseError> {
        let Instruction {
            name, operands, line, ..
        } = instruction;
        let mut modifiers = Modifiers::new(name, &instruction.modifiers, *line, self.unit.tree.target);
        let m = &mut modifiers;
        match *name {
            "mov" => self.mov(m, operands)?,
            "ld" | "ldu" => self.load(m, operands, *name == "ldu")?,
            "st" => self.store(m, operands)?,
            "cvta" => self.convert_address(m, operands)?,
            "isspacep" => self.is_space(m, operands)?,
            "atom" | "red" => self.atomic(m, operands, *name == "atom")?,
            "setp" => self.setp(m, operands)?,
            "set" => self.set(m, operands)?,
            "testp" => self.testp(m, operands)?,
            "selp" => self.selp(m, operands)?,
            "slct" => self.slct(m, operands)?,
            "lop3" => self.lop3(m, operands)?,
            "add" | "sub" | "mad" if m.flag("cc") => self.carry(name, true, m, operands)?,
            "addc" | "subc" | "madc" => {
                let sets = m.flag("cc");
                self.carry(name, sets, m, operands)?;
            }
            "and" | "or" | "xor" | "not" if m.peek_kind() == Some(Type::Pred) => {
                self.logic(name, m, operands)?;
            }
            "bra" => self.branch(m, operands)?,
            "brx" => self.branch_index(m, operands)?,
            "call" => self.call(m, operands)?,
            "ret" | "exit" | "trap" | "brkpt" => self.leave(name, m, operands)?,
            "bar" | "barrier" => self.barrier(m, operands, *name == "bar")?,
            "shfl" => self.shuffle(m, operands)?,
            "vote" => self.vote(m, operands)?,
            "match" => self.matching(m, operands)?,
            "redux" => self.reduce(m, operands)?,
            "elect" => self.elect(m, operands)?,
            "activemask" => self.active_mask(m, operands)?,
            "mma" => self.matrix_product(m, operands)?,
            "ldmatrix" | "stmatrix" => self.matrix_move(m, operands, *name == "ldmatrix")?,
            "movmatrix" => self.matrix_transpose(m, operands)?,
            "cp" => self.copy(m, operands)?,
            "membar" | "fence" => self.fence(m, operands)?,
            "prefetch" | "prefetchu" | "applypriority" | "discard" => self.prefetch(m, operands)?,
            "nanosleep" | "pmevent" | "griddepcontrol" => self.nothing(name, m, operands)?,
            _ => self.arithmetic(name, m, operands)?,
        }
        modifiers.finish()
    }

    fn arithmetic(
        &mut self,
        name: &str,
        m: &mut Modifiers<'a>,
        operands: &[Operand<'a>],
    ) -> Result<(), ParseError> {
        let Some(chosen) = arith::choose(name, m, operands.len())? else {
            return Err(self.unknown(name));
        };
        let Chosen {
            function,
            types,
            class,
        } = chosen;
        self.expect_operands(operands, types.len()..=types.len())?;
        let width = if matches!(name, "cvt" | "szext") {
            Width::Wider
        } else {
            Width::Same
        };
        let mut from = [0; 4];
        for ((row, operand), &kind) in from.iter_mut().zip(&operands[1..]).zip(&types[1..]) {
            // The operands of a packed conversion are no halves, and the amount of a shift has 32 bits whatever is
            // shifted.
            let (Register::P(found) | Register::W(found) | Register::D(found)) =
                self.source(operand, kind, width)?;
            *row = found;
        }
        let to = self.destination(&operands[0], types[0], width)?;
        let (wanted_wide, is_wide) = (types[0].size() == 8, matches!(to, Register::D(_)));
        let (Register::P(to) | Register::W(to) | Register::D(to)) = to;
        if wanted_wide == is_wide {
            self.emit(Operation::Arithmetic { function, to, from }, class);
            return Ok(());
        }
        // A narrow result for a wide register is extended as its type says.
        let Register::W(narrow) = self.new_register(Type::B32) else {
            unreachable!("32 bits are narrow")
        };
        self.emit(
            Operation::Arithmetic {
                function,
                to: narrow,
                from,
            },
            class,
        );
        self.extend(to, narrow, types[0].is_signed());
        Ok(())
    }

    /// Extends a narrow row into a wide one.
    pub fn extend(&mut self, to: u32, narrow: u32, signed: bool) {
        let function = if signed {
            arith::Function::DW(|to, from| {
                for i in 0..32 {
                    to[i] = i64::from(from[i].cast_signed()).cast_unsigned();
                }
            })
        } else {
            arith::Function::DW(|to, from| {
                for i in 0..32 {
                    to[i] = u64::from(from[i]);
                }
            })
        };
        self.emit(
            Operation::Arithmetic {
                function,
                to,
                from: [narrow, 0, 0, 0],
            },
            Class::Hidden,
        );
    }

    fn unknown(&self, name: &str) -> ParseError {
        if NOT_IMPLEMENTED.contains(&name) {
            return self.error(
                ParseErrorKind::NotImplemented,
                format!("instruction `{name}` is not implemented"),
            );
        }
        self.error(
            ParseErrorKind::UnknownInstruction,
            format!("unknown instruction `{name}`"),
        )
    }
}
