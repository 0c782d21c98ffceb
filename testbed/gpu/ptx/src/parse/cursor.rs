//! A place in the tokens, and the steps that every part of the grammar takes.

use super::lexer::{Kind, Token};
use crate::{ParseError, ParseErrorKind};

/// A place in the tokens of a text.
pub struct Cursor<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
}

impl<'t, 'a> Cursor<'t, 'a> {
    /// The start; the tokens end with [`Kind::End`].
    pub fn new(tokens: &'t [Token<'a>]) -> Self {
        Self { tokens, at: 0 }
    }

    /// The token here.
    pub fn peek(&self) -> Token<'a> {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    /// The token after this one.
    pub fn peek_second(&self) -> Token<'a> {
        self.tokens[(self.at + 1).min(self.tokens.len() - 1)]
    }

    /// The token before this one, if there is one.
    pub fn previous(&self) -> Option<Token<'a>> {
        self.at
            .checked_sub(1)
            .map(|at| self.tokens[at.min(self.tokens.len() - 1)])
    }

    /// Takes the token here.
    pub fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// Takes a mark if it stands here.
    pub fn accept(&mut self, mark: u8) -> bool {
        let found = self.peek().kind == Kind::Mark(mark);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes a `.name` if it stands here.
    pub fn accept_dot(&mut self, name: &str) -> bool {
        let found = self.peek().kind == Kind::Dot(name);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes a mark that must stand here.
    pub fn expect(&mut self, mark: u8, place: &str) -> Result<(), ParseError> {
        if self.accept(mark) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{}` {place}", char::from(mark))))
    }

    /// Takes a name that must stand here.
    pub fn word(&mut self, what: &str) -> Result<&'a str, ParseError> {
        match self.peek().kind {
            Kind::Word(word) => {
                self.at += 1;
                Ok(word)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// Takes an integer that must stand here.
    pub fn integer(&mut self, what: &str) -> Result<u64, ParseError> {
        match self.peek().kind {
            Kind::Int(value) => {
                self.at += 1;
                Ok(value)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// Takes an integer that must stand here and fit 32 bits.
    pub fn small(&mut self, what: &str) -> Result<u32, ParseError> {
        let line = self.peek().line;
        let value = self.integer(what)?;
        u32::try_from(value).map_err(|_| {
            ParseError::new(
                ParseErrorKind::TooLarge,
                line,
                format!("{value} is too large for {what}"),
            )
        })
    }

    /// Passes everything that stands on this line.
    pub fn skip_line(&mut self, line: u32) {
        while self.peek().line == line && self.peek().kind != Kind::End {
            self.at += 1;
        }
    }

    /// The refusal of the token here.
    pub fn unexpected(&self, wanted: &str) -> ParseError {
        let token = self.peek();
        self.error(
            ParseErrorKind::Syntax,
            format!("{} where {wanted} is expected", token.describe()),
        )
    }

    /// A refusal at this line.
    pub fn error(&self, kind: ParseErrorKind, message: String) -> ParseError {
        ParseError::new(kind, self.peek().line, message)
    }
}
