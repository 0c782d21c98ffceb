//! From text to tree: the grammar of PTX, with nothing resolved yet.

mod body;
mod cursor;
mod declaration;
mod directive;
mod function;
mod lexer;
mod operand;
pub(crate) mod tree;

use crate::{ParseError, ParseErrorKind};
use cursor::Cursor;
use directive::unknown_directive;
use lexer::Kind;
use tree::Tree;

/// The newest version that this machine knows.
const NEWEST: (u32, u32) = (8, 0);

/// Parses a whole text.
pub fn parse(text: &str) -> Result<Tree<'_>, ParseError> {
    let tokens = lexer::tokens(text)?;
    let mut cursor = Cursor::new(&tokens);
    let mut tree = Tree {
        address_bits: 64,
        ..Tree::default()
    };
    header(&mut cursor, &mut tree)?;
    while cursor.peek().kind != Kind::End {
        item(&mut cursor, &mut tree)?;
    }
    Ok(tree)
}

/// `.version` and `.target`, which begin every module.
fn header(cursor: &mut Cursor<'_, '_>, tree: &mut Tree<'_>) -> Result<(), ParseError> {
    if !cursor.accept_dot("version") {
        return Err(cursor.unexpected("`.version`, which begins every module,"));
    }
    // The number is lexed as a decimal fraction, whose text is exact.
    let token = cursor.take();
    let Kind::Double(bits) = token.kind else {
        return Err(ParseError::new(
            ParseErrorKind::Syntax,
            token.line,
            format!("{} is no version", token.describe()),
        ));
    };
    let text = f64::from_bits(bits).to_string();
    let (major, minor) = text.split_once('.').unwrap_or((&text, "0"));
    tree.version = (
        major.parse().unwrap_or(u32::MAX),
        minor.parse().unwrap_or(u32::MAX),
    );
    if tree.version > NEWEST {
        let message = format!("PTX version {major}.{minor} is newer than 8.0, the newest that is supported");
        return Err(ParseError::new(
            ParseErrorKind::UnsupportedVersion,
            token.line,
            message,
        ));
    }
    if !cursor.accept_dot("target") {
        return Err(cursor.unexpected("`.target`, which follows `.version`,"));
    }
    loop {
        let line = cursor.peek().line;
        let name = cursor.word("a target such as sm_80")?;
        match name
            .strip_prefix("sm_")
            .map(|number| number.trim_end_matches('a').parse())
        {
            Some(Ok(number)) => tree.target = number,
            _ if matches!(
                name,
                "texmode_unified" | "texmode_independent" | "debug" | "map_f64_to_f32"
            ) => {}
            _ => {
                let message = format!("`{name}` is no target that PTX 8.0 knows");
                return Err(ParseError::new(ParseErrorKind::UnsupportedTarget, line, message));
            }
        }
        if !cursor.accept(b',') {
            return Ok(());
        }
    }
}

/// One directive at module scope.
fn item<'a>(cursor: &mut Cursor<'_, 'a>, tree: &mut Tree<'a>) -> Result<(), ParseError> {
    let token = cursor.peek();
    match token.kind {
        Kind::Dot("address_size") => {
            cursor.take();
            tree.address_bits = cursor.small("an address size")?;
            if tree.address_bits == 64 {
                return Ok(());
            }
            let message = format!(
                "`.address_size {}`: devices have addresses of 64 bits",
                tree.address_bits
            );
            Err(ParseError::new(
                ParseErrorKind::NotImplemented,
                token.line,
                message,
            ))
        }
        Kind::Dot("file" | "loc") => {
            cursor.skip_line(token.line);
            Ok(())
        }
        Kind::Dot("section") => section(cursor),
        Kind::Dot("pragma") => body::pragma(cursor),
        _ => linked(cursor, tree),
    }
}

/// A function or variable behind its linking directives.
fn linked<'a>(cursor: &mut Cursor<'_, 'a>, tree: &mut Tree<'a>) -> Result<(), ParseError> {
    let mut is_extern = false;
    loop {
        let token = cursor.peek();
        match token.kind {
            Kind::Dot("extern") => is_extern = true,
            Kind::Dot("visible" | "weak" | "common") => {}
            Kind::Dot("entry" | "func") => {
                let function = function::function(cursor, is_extern)?;
                tree.functions.push(function);
                return Ok(());
            }
            Kind::Dot("global" | "const" | "shared") => {
                return declaration::variables(cursor, is_extern, &mut tree.variables);
            }
            Kind::Dot(name) => return Err(unknown_directive(name, token.line)),
            _ => return Err(cursor.unexpected("a directive")),
        }
        cursor.take();
    }
}

/// `.section .debug_info { … }`: debugging data, passed over.
fn section(cursor: &mut Cursor<'_, '_>) -> Result<(), ParseError> {
    while !cursor.accept(b'{') {
        if cursor.take().kind == Kind::End {
            return Err(cursor.unexpected("the `{` of a section"));
        }
    }
    while !cursor.accept(b'}') {
        if cursor.take().kind == Kind::End {
            return Err(cursor.unexpected("the `}` of a section"));
        }
    }
    Ok(())
}
