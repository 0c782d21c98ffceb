//! Declarations of variables and registers.

use super::cursor::Cursor;
use super::directive::unknown_directive;
use super::lexer::Kind;
use super::operand;
use super::tree::{Initial, Operand, Registers, Type, Variable, VariableSpace};
use crate::{ParseError, ParseErrorKind};

/// The most values of one initialiser: 64 MiB of bytes, the size of the constant bank a thousand times over.
const MOST_INITIAL: usize = 64 << 20;
/// The deepest nesting of `{` in an initialiser: one level a dimension.
const DEEPEST: usize = 16;

/// Takes the name of a space that variables are declared in.
pub fn space(cursor: &mut Cursor<'_, '_>) -> Option<VariableSpace> {
    let space = match cursor.peek().kind {
        Kind::Dot("global") => VariableSpace::Global,
        Kind::Dot("const") => VariableSpace::Const,
        Kind::Dot("shared" | "shared::cta") => VariableSpace::Shared,
        Kind::Dot("local") => VariableSpace::Local,
        Kind::Dot("param") => VariableSpace::Param,
        _ => return None,
    };
    cursor.take();
    Some(space)
}

/// `.space .align 4 .type a[3] = {…}, b;`
pub fn variables<'a>(
    cursor: &mut Cursor<'_, 'a>,
    is_extern: bool,
    found: &mut Vec<Variable<'a>>,
) -> Result<(), ParseError> {
    let Some(space) = space(cursor) else {
        return Err(cursor.unexpected("a state space"));
    };
    let head = Head::parse(cursor)?;
    loop {
        found.push(head.variable(cursor, space, is_extern)?);
        if cursor.accept(b';') {
            return Ok(());
        }
        cursor.expect(b',', "between variables")?;
    }
}

/// `.param .align 8 .b8 name[16]` in a parameter list.
pub fn parameter<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Variable<'a>, ParseError> {
    let Some(space) = space(cursor) else {
        return Err(cursor.unexpected("`.param`"));
    };
    Head::parse(cursor)?.variable(cursor, space, false)
}

/// `.reg .b32 %r<10>, a;`
pub fn registers<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Vec<Registers<'a>>, ParseError> {
    let kind = register_type(cursor)?;
    let mut found = Vec::new();
    loop {
        found.push(register(cursor, kind)?);
        if cursor.accept(b';') {
            return Ok(found);
        }
        cursor.expect(b',', "between registers")?;
    }
}

/// The type of a register declaration, behind `.reg`.
pub fn register_type(cursor: &mut Cursor<'_, '_>) -> Result<Type, ParseError> {
    let token = cursor.take();
    let Kind::Dot(name) = token.kind else {
        let message = format!("{} where a register's type is expected", token.describe());
        return Err(ParseError::new(ParseErrorKind::Syntax, token.line, message));
    };
    if matches!(name, "v2" | "v4") {
        let message = format!("vector registers (`.reg .{name}`) are not implemented");
        return Err(ParseError::new(
            ParseErrorKind::NotImplemented,
            token.line,
            message,
        ));
    }
    Type::named(name).ok_or_else(|| {
        ParseError::new(
            ParseErrorKind::Syntax,
            token.line,
            format!("`.{name}` is no register type"),
        )
    })
}

/// One name of a register declaration.
pub fn register<'a>(cursor: &mut Cursor<'_, 'a>, kind: Type) -> Result<Registers<'a>, ParseError> {
    let line = cursor.peek().line;
    let name = cursor.word("a register's name")?;
    let count = if cursor.accept(b'<') {
        let count = cursor.integer("a number of registers")?;
        cursor.expect(b'>', "after a number of registers")?;
        Some(count)
    } else {
        None
    };
    Ok(Registers {
        kind,
        name,
        count,
        line,
    })
}

/// What the variables of one declaration share.
struct Head {
    align: Option<u64>,
    element: Type,
    lanes: u64,
}

impl Head {
    fn parse(cursor: &mut Cursor<'_, '_>) -> Result<Self, ParseError> {
        let (mut align, mut element, mut lanes) = (None, None, 1);
        while let Kind::Dot(name) = cursor.peek().kind {
            let line = cursor.peek().line;
            cursor.take();
            match name {
                "align" => {
                    let value = cursor.integer("an alignment")?;
                    if !value.is_power_of_two() || value > 1 << 20 {
                        return Err(ParseError::new(
                            ParseErrorKind::Syntax,
                            line,
                            format!("alignment {value} is no power of two"),
                        ));
                    }
                    align = Some(value);
                }
                "v2" => lanes = 2,
                "v4" => lanes = 4,
                // What a pointer parameter points to; it changes nothing for the kernel.
                "ptr" | "global" | "const" | "shared" | "local" if element.is_some() => {}
                _ => match Type::named(name) {
                    Some(found) if found != Type::Pred => element = Some(found),
                    _ if matches!(name, "texref" | "samplerref" | "surfref") => {
                        return Err(unknown_directive(name, line));
                    }
                    _ => {
                        let message = format!("`.{name}` is no type of a variable");
                        return Err(ParseError::new(ParseErrorKind::Syntax, line, message));
                    }
                },
            }
        }
        let element = element.ok_or_else(|| cursor.unexpected("a type"))?;
        Ok(Self {
            align,
            element,
            lanes,
        })
    }

    fn variable<'a>(
        &self,
        cursor: &mut Cursor<'_, 'a>,
        space: VariableSpace,
        is_extern: bool,
    ) -> Result<Variable<'a>, ParseError> {
        let line = cursor.peek().line;
        let name = cursor.word("a variable's name")?;
        let (mut count, mut open) = (Some(self.lanes), false);
        while cursor.accept(b'[') {
            if cursor.accept(b']') {
                open = true;
                continue;
            }
            let Operand::Int(dimension) = operand::constant(cursor)? else {
                return Err(cursor.unexpected("a dimension"));
            };
            cursor.expect(b']', "after a dimension")?;
            count = count.and_then(|count| count.checked_mul(dimension));
        }
        let too_large = || {
            ParseError::new(
                ParseErrorKind::TooLarge,
                line,
                format!("variable `{name}` is too large"),
            )
        };
        let mut count = Some(count.filter(|&count| count < 1 << 40).ok_or_else(too_large)?);
        let initial = if cursor.accept(b'=') {
            initial(cursor)?
        } else {
            Vec::new()
        };
        if open {
            count = (!initial.is_empty()).then_some(initial.len() as u64);
        }
        if let Some(count) = count
            && (initial.len() as u64) > count
        {
            let message = format!(
                "variable `{name}` has {count} elements and {} initial values",
                initial.len()
            );
            return Err(ParseError::new(ParseErrorKind::Syntax, line, message));
        }
        let natural = self.element.size() as u64 * self.lanes;
        let align = self.align.unwrap_or(natural);
        Ok(Variable {
            space,
            name,
            element: self.element,
            count,
            align,
            is_extern,
            initial,
            line,
        })
    }
}

fn initial<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Vec<Initial<'a>>, ParseError> {
    if !cursor.accept(b'{') {
        return Ok(vec![initial_value(cursor)?]);
    }
    let (mut found, mut depth) = (Vec::new(), 1);
    loop {
        while cursor.accept(b'{') {
            depth += 1;
        }
        if depth > DEEPEST || found.len() > MOST_INITIAL {
            return Err(cursor.unexpected("a smaller initialiser"));
        }
        if cursor.peek().kind != Kind::Mark(b'}') {
            found.push(initial_value(cursor)?);
        }
        while cursor.accept(b'}') {
            depth -= 1;
            if depth == 0 {
                return Ok(found);
            }
        }
        cursor.expect(b',', "between initial values")?;
    }
}

fn initial_value<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Initial<'a>, ParseError> {
    match operand::simple(cursor)? {
        // `generic(name)+4`: global and constant addresses are generic ones already.
        Operand::Name("generic", None) if cursor.accept(b'(') => {
            let name = cursor.word("a variable's name")?;
            cursor.expect(b')', "after `generic(`")?;
            Ok(Initial::Address(name, operand::offset(cursor)?))
        }
        Operand::Name(name, None) => Ok(Initial::Address(name, 0)),
        Operand::Sum(name, offset) => Ok(Initial::Address(name, offset)),
        bits @ (Operand::Int(_) | Operand::Single(_) | Operand::Double(_)) => Ok(Initial::Bits(bits)),
        _ => Err(cursor.unexpected("an initial value before this")),
    }
}
