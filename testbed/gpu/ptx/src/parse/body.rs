//! Bodies: instructions, labels, declarations and nested scopes.

use super::cursor::Cursor;
use super::directive::unknown_directive;
use super::lexer::Kind;
use super::tree::{Instruction, Statement};
use super::{declaration, operand};
use crate::{ParseError, ParseErrorKind};

/// A body behind its `{`, up to the `}` that ends it.
pub fn body<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Vec<Statement<'a>>, ParseError> {
    let (mut found, mut depth) = (Vec::new(), 0_usize);
    loop {
        let token = cursor.peek();
        match token.kind {
            Kind::Mark(b'{') => {
                cursor.take();
                depth += 1;
                found.push(Statement::Open);
            }
            Kind::Mark(b'}') => {
                cursor.take();
                let Some(outer) = depth.checked_sub(1) else {
                    return Ok(found);
                };
                depth = outer;
                found.push(Statement::Close);
            }
            Kind::Mark(b';') => drop(cursor.take()),
            Kind::Dot(name) => directive(cursor, name, &mut found)?,
            Kind::Word(name) if cursor.peek_second().kind == Kind::Mark(b':') => {
                cursor.take();
                cursor.take();
                found.push(labelled(cursor, name, token.line)?);
            }
            Kind::Word(_) | Kind::Mark(b'@') => found.push(Statement::Instruction(instruction(cursor)?)),
            _ => return Err(cursor.unexpected("an instruction, a directive or `}`")),
        }
    }
}

/// `.pragma "nounroll";`
pub fn pragma(cursor: &mut Cursor<'_, '_>) -> Result<(), ParseError> {
    cursor.take();
    while let Kind::Text(_) = cursor.peek().kind {
        cursor.take();
        cursor.accept(b',');
    }
    cursor.expect(b';', "after `.pragma`")
}

fn directive<'a>(
    cursor: &mut Cursor<'_, 'a>,
    name: &'a str,
    found: &mut Vec<Statement<'a>>,
) -> Result<(), ParseError> {
    let line = cursor.peek().line;
    match name {
        "reg" => {
            cursor.take();
            found.extend(
                declaration::registers(cursor)?
                    .into_iter()
                    .map(Statement::Registers),
            );
        }
        "local" | "shared" | "param" | "const" | "global" => {
            let mut variables = Vec::new();
            declaration::variables(cursor, false, &mut variables)?;
            found.extend(variables.into_iter().map(Statement::Variable));
        }
        "loc" | "file" => cursor.skip_line(line),
        "pragma" => pragma(cursor)?,
        _ => return Err(unknown_directive(name, line)),
    }
    Ok(())
}

/// What stands behind `name:`: a table of targets, a prototype, or nothing that belongs to it.
fn labelled<'a>(cursor: &mut Cursor<'_, 'a>, name: &'a str, line: u32) -> Result<Statement<'a>, ParseError> {
    match cursor.peek().kind {
        Kind::Dot("branchtargets") => {
            cursor.take();
            let mut targets = vec![cursor.word("a label")?];
            while cursor.accept(b',') {
                targets.push(cursor.word("a label")?);
            }
            cursor.expect(b';', "after `.branchtargets`")?;
            Ok(Statement::Targets(name, targets))
        }
        Kind::Dot("callprototype" | "calltargets") => {
            while !cursor.accept(b';') {
                if cursor.take().kind == Kind::End {
                    return Err(cursor.unexpected("the `;` of a prototype"));
                }
            }
            Ok(Statement::Prototype)
        }
        _ => Ok(Statement::Label(name, line)),
    }
}

fn instruction<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Instruction<'a>, ParseError> {
    let first = cursor.peek();
    let guard = if cursor.accept(b'@') {
        let negated = cursor.accept(b'!');
        Some((cursor.word("a predicate after `@`")?, negated))
    } else {
        None
    };
    let line = cursor.peek().line;
    let name = cursor.word("an instruction")?;
    let mut modifiers = Vec::new();
    while let Kind::Dot(modifier) = cursor.peek().kind {
        modifiers.push(modifier);
        cursor.take();
    }
    let operands = operand::operands(cursor, b';')?;
    let end = cursor.previous().map_or(first.end, |last| last.end);
    if operands.len() > 16 {
        return Err(ParseError::new(
            ParseErrorKind::Operand,
            line,
            format!("`{name}` has more than 16 operands"),
        ));
    }
    Ok(Instruction {
        guard,
        name,
        modifiers,
        operands,
        line,
        span: (first.start, end),
    })
}
