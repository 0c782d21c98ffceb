//! Splits PTX into tokens, each with its line.

use crate::{ParseError, ParseErrorKind::Syntax};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind<'a> {
    /// A name: `add`, `%r1`, `$L__BB0_2`, `_`.
    Word(&'a str),
    /// A name after a dot, without the dot: `entry`, `u32`, `shared::cta`.
    Dot(&'a str),
    /// An integer.
    Int(u64),
    /// `0f3F800000`, its bits.
    Single(u32),
    /// `0d…` or a decimal fraction, its bits.
    Double(u64),
    /// Text in quotes, without them.
    Text(&'a str),
    /// One mark, such as `;` or `{`.
    Mark(u8),
    /// The end of the text.
    End,
}

/// A token and its place.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind<'a>,
    /// Its line, from 1.
    pub line: u32,
    /// The offset of its first byte.
    pub start: usize,
    /// The offset behind its last byte.
    pub end: usize,
    /// Nothing stands between it and the token before.
    pub glued: bool,
}

impl Token<'_> {
    /// The token as a message names it.
    pub fn describe(&self) -> String {
        match self.kind {
            Kind::Word(word) => format!("`{word}`"),
            Kind::Dot(word) => format!("`.{word}`"),
            Kind::Int(value) => format!("`{value}`"),
            Kind::Single(bits) => format!("`0f{bits:08X}`"),
            Kind::Double(bits) => format!("`0d{bits:016X}`"),
            Kind::Text(text) => format!("\"{text}\""),
            Kind::Mark(mark) => format!("`{}`", char::from(mark).escape_default()),
            Kind::End => "the end of the text".to_owned(),
        }
    }
}

/// All tokens of a text; the last is [`Kind::End`].
pub fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let mut lexer = Lexer {
        text,
        bytes: text.as_bytes(),
        at: 0,
        line: 1,
    };
    let mut found: Vec<Token<'_>> = Vec::new();
    loop {
        lexer.skip_blank()?;
        let (start, line) = (lexer.at, lexer.line);
        let kind = lexer.next()?;
        let glued = found.last().is_some_and(|last| last.end == start);
        found.push(Token {
            kind,
            line,
            start,
            end: lexer.at,
            glued,
        });
        if kind == Kind::End {
            return Ok(found);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: u32,
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

impl<'a> Lexer<'a> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::new(Syntax, self.line, message)
    }

    fn skip_blank(&mut self) -> Result<(), ParseError> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'\n', _) => {
                    self.line += 1;
                    self.at += 1;
                }
                (b' ' | b'\t' | b'\r' | 0x0c, _) => self.at += 1,
                (b'/', b'/') => {
                    self.at += self.bytes[self.at..]
                        .iter()
                        .take_while(|&&byte| byte != b'\n')
                        .count();
                }
                (b'/', b'*') => {
                    let length = self.text.get(self.at + 2..).and_then(|rest| rest.find("*/"));
                    let Some(length) = length else {
                        return Err(self.error("a comment `/*` has no end"));
                    };
                    let comment = &self.text[self.at..self.at + 2 + length];
                    self.line += u32::try_from(comment.split('\n').count() - 1).unwrap_or(0);
                    self.at += length + 4;
                }
                _ => return Ok(()),
            }
        }
    }

    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        while self.at < self.bytes.len() && keep(self.bytes[self.at]) {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or("")
    }

    fn next(&mut self) -> Result<Kind<'a>, ParseError> {
        if self.at >= self.bytes.len() {
            return Ok(Kind::End);
        }
        let first = self.peek(0);
        match first {
            // A driver takes a text that ends with a zero byte.
            0 if self.bytes[self.at..].iter().all(|&byte| byte == 0) => {
                self.at = self.bytes.len();
                Ok(Kind::End)
            }
            b'0'..=b'9' => self.number(),
            b'"' => self.text_literal(),
            b'.' if in_word(self.peek(1)) => {
                self.at += 1;
                let start = self.at;
                self.take_while(in_word);
                while self.peek(0) == b':' && self.peek(1) == b':' && in_word(self.peek(2)) {
                    self.at += 2;
                    self.take_while(in_word);
                }
                Ok(Kind::Dot(&self.text[start..self.at]))
            }
            b'%' if in_word(self.peek(1)) => {
                let start = self.at;
                self.at += 1;
                self.take_while(in_word);
                Ok(Kind::Word(&self.text[start..self.at]))
            }
            _ if in_word(first) => Ok(Kind::Word(self.take_while(in_word))),
            _ if first.is_ascii_graphic() => {
                self.at += 1;
                Ok(Kind::Mark(first))
            }
            _ => Err(self.error(format!("byte {first:#04x} has no meaning in PTX"))),
        }
    }

    fn text_literal(&mut self) -> Result<Kind<'a>, ParseError> {
        self.at += 1;
        let text = self.take_while(|byte| byte != b'"' && byte != b'\n');
        if self.peek(0) != b'"' {
            return Err(self.error("a text in quotes has no end"));
        }
        self.at += 1;
        Ok(Kind::Text(text))
    }

    fn number(&mut self) -> Result<Kind<'a>, ParseError> {
        let start = self.at;
        let digits = self.take_while(in_word);
        let fraction = self.peek(0) == b'.' && self.peek(1).is_ascii_digit();
        let exponent =
            digits.ends_with(['e', 'E']) && matches!(self.peek(0), b'+' | b'-') && !digits.starts_with("0x");
        if fraction || exponent {
            self.at += 1;
            let tail = self.take_while(in_word);
            if tail.ends_with(['e', 'E']) && matches!(self.peek(0), b'+' | b'-') {
                self.at += 1;
                self.take_while(in_word);
            }
            let whole = &self.text[start..self.at];
            let value: f64 = whole
                .parse()
                .map_err(|_| self.error(format!("`{whole}` is no number")))?;
            return Ok(Kind::Double(value.to_bits()));
        }
        number(digits).ok_or_else(|| self.error(format!("`{digits}` is no number of at most 64 bits")))
    }
}

fn number(digits: &str) -> Option<Kind<'static>> {
    let tail = digits.get(2..).unwrap_or("");
    match digits.as_bytes() {
        [b'0', b'f' | b'F', ..] if tail.len() == 8 => u32::from_str_radix(tail, 16).ok().map(Kind::Single),
        [b'0', b'd' | b'D', ..] if tail.len() == 16 => u64::from_str_radix(tail, 16).ok().map(Kind::Double),
        [b'0', b'x' | b'X', ..] => integer(tail, 16),
        [b'0', b'b' | b'B', ..] => integer(tail, 2),
        [b'0', _, ..] if !matches!(digits, "0U" | "0u") => integer(digits, 8),
        _ => integer(digits, 10),
    }
}

fn integer(digits: &str, radix: u32) -> Option<Kind<'static>> {
    let digits = digits.strip_suffix(['U', 'u']).unwrap_or(digits);
    u64::from_str_radix(digits, radix).ok().map(Kind::Int)
}
