//! Operands and constants.

use super::cursor::Cursor;
use super::lexer::Kind;
use super::tree::Operand;
use crate::ParseError;

/// The most values between braces or parentheses of an operand. The widest vector has 64 registers (wgmma), a call
/// passes at most 255 parameters.
const MOST_IN_LIST: usize = 256;

/// A comma-separated list of operands, up to the mark that ends it, which is taken.
pub fn operands<'a>(cursor: &mut Cursor<'_, 'a>, end: u8) -> Result<Vec<Operand<'a>>, ParseError> {
    let mut found = Vec::new();
    if cursor.accept(end) {
        return Ok(found);
    }
    loop {
        found.push(operand(cursor)?);
        if cursor.accept(end) {
            return Ok(found);
        }
        cursor.expect(b',', "between operands")?;
    }
}

fn operand<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Operand<'a>, ParseError> {
    match cursor.peek().kind {
        Kind::Mark(b'[') => {
            cursor.take();
            let address = address(cursor)?;
            cursor.expect(b']', "after an address")?;
            Ok(address)
        }
        Kind::Mark(b'{') => {
            cursor.take();
            simple_list(cursor, b'}').map(Operand::Vector)
        }
        Kind::Mark(b'(') if !is_expression(cursor) => {
            cursor.take();
            simple_list(cursor, b')').map(Operand::List)
        }
        Kind::Mark(b'!') => {
            cursor.take();
            cursor.word("a predicate after `!`").map(Operand::Not)
        }
        _ => simple(cursor),
    }
}

/// A parenthesis holds an expression when a number stands in it, and a call's list otherwise.
fn is_expression(cursor: &Cursor<'_, '_>) -> bool {
    matches!(cursor.peek_second().kind, Kind::Mark(b'-' | b'~' | b'('))
}

fn simple_list<'a>(cursor: &mut Cursor<'_, 'a>, end: u8) -> Result<Vec<Operand<'a>>, ParseError> {
    let mut found = Vec::new();
    if cursor.accept(end) {
        return Ok(found);
    }
    loop {
        found.push(simple(cursor)?);
        if found.len() > MOST_IN_LIST {
            return Err(cursor.unexpected("the end of a list of at most 256 operands"));
        }
        if cursor.accept(end) {
            return Ok(found);
        }
        cursor.expect(b',', "between operands")?;
    }
}

/// An operand without brackets: a name or a constant.
pub fn simple<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Operand<'a>, ParseError> {
    let Kind::Word(name) = cursor.peek().kind else {
        return constant(cursor);
    };
    cursor.take();
    if name == "WARP_SZ" {
        return Ok(Operand::Int(32));
    }
    match cursor.peek().kind {
        Kind::Dot(component)
            if cursor.peek().glued && matches!(component, "x" | "y" | "z" | "w" | "r" | "g" | "b" | "a") =>
        {
            cursor.take();
            Ok(Operand::Name(name, Some(component)))
        }
        Kind::Mark(b'|') => {
            cursor.take();
            Ok(Operand::Pair(name, cursor.word("a predicate after `|`")?))
        }
        Kind::Mark(b'+' | b'-') => Ok(Operand::Sum(name, offset(cursor)?)),
        _ => Ok(Operand::Name(name, None)),
    }
}

/// What stands between `[` and `]`.
fn address<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Operand<'a>, ParseError> {
    if let Kind::Word(base) = cursor.peek().kind {
        cursor.take();
        return Ok(Operand::Address(Some(base), offset(cursor)?));
    }
    match constant(cursor)? {
        Operand::Int(value) => Ok(Operand::Address(None, value.cast_signed())),
        _ => Err(cursor.unexpected("an integer as address")),
    }
}

/// `+4`, `-4`, `+-4`, or nothing.
pub fn offset(cursor: &mut Cursor<'_, '_>) -> Result<i64, ParseError> {
    let mut sum = 0_i64;
    while let Kind::Mark(mark @ (b'+' | b'-')) = cursor.peek().kind {
        cursor.take();
        let Operand::Int(value) = unary(cursor)? else {
            return Err(cursor.unexpected("an integer offset"));
        };
        let value = value.cast_signed();
        sum = if mark == b'+' {
            sum.wrapping_add(value)
        } else {
            sum.wrapping_sub(value)
        };
    }
    Ok(sum)
}

/// A constant: a number, or integers joined by `+ - * / % << >> & | ^`, from left to right within parentheses.
pub fn constant<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Operand<'a>, ParseError> {
    let first = unary(cursor)?;
    let Operand::Int(mut value) = first else {
        return Ok(first);
    };
    while let Kind::Mark(mark @ (b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'&' | b'^')) =
        cursor.peek().kind
    {
        cursor.take();
        if matches!(mark, b'<' | b'>') {
            cursor.expect(mark, "to complete a shift")?;
        }
        let Operand::Int(right) = unary(cursor)? else {
            return Err(cursor.unexpected("an integer"));
        };
        let joined = match mark {
            b'+' => Some(value.wrapping_add(right)),
            b'-' => Some(value.wrapping_sub(right)),
            b'*' => Some(value.wrapping_mul(right)),
            b'/' => value.checked_div(right),
            b'%' => value.checked_rem(right),
            b'<' => Some(
                u32::try_from(right)
                    .ok()
                    .and_then(|n| value.checked_shl(n))
                    .unwrap_or(0),
            ),
            b'>' => Some(
                u32::try_from(right)
                    .ok()
                    .and_then(|n| value.checked_shr(n))
                    .unwrap_or(0),
            ),
            b'&' => Some(value & right),
            _ => Some(value ^ right),
        };
        value = joined.ok_or_else(|| cursor.unexpected("a divisor other than zero before this"))?;
    }
    Ok(Operand::Int(value))
}

fn unary<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Operand<'a>, ParseError> {
    const MOST_SIGNS: usize = 16;
    let (mut negate, mut invert, mut depth) = (false, false, 0);
    for _ in 0..MOST_SIGNS {
        match cursor.peek().kind {
            Kind::Mark(b'-') => negate = !negate,
            Kind::Mark(b'~') => invert = !invert,
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b'+') => {}
            _ => break,
        }
        cursor.take();
    }
    let value = match cursor.peek().kind {
        Kind::Int(value) => {
            let value = if invert { !value } else { value };
            Operand::Int(if negate { value.wrapping_neg() } else { value })
        }
        Kind::Single(bits) => Operand::Single(if negate { bits ^ (1 << 31) } else { bits }),
        Kind::Double(bits) => Operand::Double(if negate { bits ^ (1 << 63) } else { bits }),
        _ => return Err(cursor.unexpected("an operand")),
    };
    cursor.take();
    for _ in 0..depth {
        cursor.expect(b')', "after a constant")?;
    }
    Ok(value)
}
