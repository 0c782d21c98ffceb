//! Heads of kernels and functions.

use super::cursor::Cursor;
use super::directive::unknown_directive;
use super::lexer::Kind;
use super::tree::{Formal, Function};
use super::{body, declaration};
use crate::ParseError;

/// `.entry name (…) .maxntid 128, 1, 1 { … }` or `.func (…) name (…) { … }`.
pub fn function<'a>(cursor: &mut Cursor<'_, 'a>, _is_extern: bool) -> Result<Function<'a>, ParseError> {
    let line = cursor.peek().line;
    let is_entry = cursor.take().kind == Kind::Dot("entry");
    cursor.accept_dot("noreturn");
    let returns = if !is_entry && cursor.peek().kind == Kind::Mark(b'(') {
        formals(cursor)?
    } else {
        Vec::new()
    };
    let name = cursor.word("a function's name")?;
    let parameters = if cursor.peek().kind == Kind::Mark(b'(') {
        formals(cursor)?
    } else {
        Vec::new()
    };
    let mut function = Function {
        is_entry,
        name,
        returns,
        parameters,
        max_threads: None,
        required_threads: None,
        body: None,
        line,
    };
    loop {
        let token = cursor.peek();
        match token.kind {
            Kind::Mark(b';') => {
                cursor.take();
                return Ok(function);
            }
            Kind::Mark(b'{') => {
                cursor.take();
                function.body = Some(body::body(cursor)?);
                return Ok(function);
            }
            Kind::Dot("maxntid") => function.max_threads = Some(dimensions(cursor)?),
            Kind::Dot("reqntid") => function.required_threads = Some(dimensions(cursor)?),
            Kind::Dot("reqnctapercluster") => drop(dimensions(cursor)?),
            Kind::Dot("minnctapersm" | "maxnctapersm" | "maxnreg" | "maxclusterrank") => {
                cursor.take();
                cursor.small("a number")?;
            }
            Kind::Dot("noreturn" | "explicitcluster") => drop(cursor.take()),
            Kind::Dot("pragma") => body::pragma(cursor)?,
            Kind::Dot(name) => return Err(unknown_directive(name, token.line)),
            _ => return Err(cursor.unexpected("`{` or `;` after a function's head")),
        }
    }
}

/// `128`, `16, 8` or `8, 8, 2`, behind the directive that is here.
fn dimensions(cursor: &mut Cursor<'_, '_>) -> Result<[u32; 3], ParseError> {
    cursor.take();
    let mut sizes = [1; 3];
    for (i, size) in sizes.iter_mut().enumerate() {
        if i > 0 && !cursor.accept(b',') {
            break;
        }
        *size = cursor.small("a number of threads")?;
    }
    Ok(sizes)
}

/// Parameters in parentheses.
pub fn formals<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Vec<Formal<'a>>, ParseError> {
    cursor.expect(b'(', "before parameters")?;
    let mut found = Vec::new();
    if cursor.accept(b')') {
        return Ok(found);
    }
    loop {
        if cursor.accept_dot("reg") {
            let kind = declaration::register_type(cursor)?;
            found.push(Formal::Register(declaration::register(cursor, kind)?));
        } else {
            found.push(Formal::Variable(declaration::parameter(cursor)?));
        }
        if cursor.accept(b')') {
            return Ok(found);
        }
        cursor.expect(b',', "between parameters")?;
    }
}
