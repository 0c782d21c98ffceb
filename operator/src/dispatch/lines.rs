//! Splits a stream of bytes into result lines, bounded.

use cocoon_api::{
    agent::ResultLine,
    json::{self, Fault},
};

/// Why a stream of results cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// A line is longer than its limit.
    #[error("a line exceeds {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// A line is not a result.
    #[error("a line is not a result")]
    Malformed(#[source] Fault),
}

/// Bytes received and not yet read as lines.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    limit: usize,
}

impl Lines {
    /// Refuses lines longer than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            limit,
        }
    }

    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line: `None` where more bytes are needed, `Some(None)` for an empty line.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would end where more bytes may follow"
    )]
    pub fn next(&mut self) -> Result<Option<Option<ResultLine>>, LineError> {
        let too_long = LineError::TooLong { limit: self.limit };
        let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') else {
            return if self.buffer.len() > self.limit {
                Err(too_long)
            } else {
                Ok(None)
            };
        };
        if end > self.limit {
            return Err(too_long);
        }
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        let text = line.trim_ascii();
        if text.is_empty() {
            return Ok(Some(None));
        }
        json::read(text)
            .map(|line| Some(Some(line)))
            .map_err(LineError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FAILED: &str =
        "{\"position\":0,\"index\":3,\"outcome\":{\"failed\":{\"code\":\"internal\",\"message\":\"m\"}}}\n";

    #[test]
    fn lines_split_anywhere_are_the_same_lines() {
        for cut in 0..FAILED.len() {
            let mut lines = Lines::new(1024);
            lines.push(&FAILED.as_bytes()[..cut]);
            assert!(lines.next().unwrap().is_none());
            lines.push(&FAILED.as_bytes()[cut..]);
            assert_eq!(lines.next().unwrap().unwrap().unwrap().index, 3);
        }
    }

    #[test]
    fn an_empty_line_is_a_sign_of_life() {
        let mut lines = Lines::new(16);
        lines.push(b"\r\n");
        assert!(matches!(lines.next(), Ok(Some(None))));
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::new(16);
        lines.push(&[b'x'; 17]);
        assert!(matches!(lines.next(), Err(LineError::TooLong { limit: 16 })));
    }

    #[test]
    fn a_line_that_is_no_result_is_not_repeated() {
        let mut lines = Lines::new(1024);
        lines.push(b"{\"position\": \"canary-7f3a\"}\n");
        let error = crate::error::chain(&lines.next().unwrap_err());
        assert!(error.contains("column") && !error.contains("canary"), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(chunks in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut lines = Lines::new(64);
            for chunk in chunks {
                lines.push(&chunk);
                while let Ok(Some(_)) = lines.next() {}
            }
        }
    }
}
