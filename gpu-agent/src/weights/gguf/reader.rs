//! Little-endian reads that count what they took and refuse to allocate ahead of the bytes.

use std::io::Read;

use crate::weights::quants::TensorType;

/// Longest string of a header: token lists and chat templates stay far below 1 MiB an entry.
const MAX_STRING_BYTES: u64 = 1 << 20;
/// Longest header: the largest vocabularies (256,000 tokens with merges) take about 12 MiB.
const MAX_HEADER_BYTES: u64 = 128 << 20;

/// Why a header was refused.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The first four bytes are not `GGUF`.
    #[error("not a GGUF file: it starts with \"{found}\" instead of \"GGUF\"")]
    Magic {
        /// The bytes in place of the magic number, made printable.
        found: String,
    },
    /// A version with another layout.
    #[error(
        "GGUF version {version} is not supported, only 2 and 3; convert the file with a current llama.cpp"
    )]
    Version {
        /// The version in the file.
        version: u32,
    },
    /// The version is one where its bytes are read backwards.
    #[error("the GGUF file is for big-endian machines; convert or fetch it for little-endian ones")]
    BigEndian,
    /// The file ends before what its header announces.
    #[error("truncated: {field} needs {needed} bytes but the file has {length}; fetch the file again")]
    Truncated {
        /// What was being read.
        field: String,
        /// Bytes that the file would have to have.
        needed: u64,
        /// Bytes that it has.
        length: u64,
    },
    /// One field cannot be right.
    #[error("{field} {problem}")]
    Field {
        /// Metadata key or tensor.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor has an encoding that is not computed with.
    #[error(
        "{tensor} has type {kind}, which is not supported; supported are {}: fetch the model in one of these, or quantise it anew",
        supported_types()
    )]
    TensorType {
        /// The tensor.
        tensor: String,
        /// The type as the format names it, or its number.
        kind: String,
    },
    /// The operating system could not read.
    #[error("cannot read {field}")]
    Io {
        /// What was being read.
        field: String,
        /// The cause.
        source: std::io::Error,
    },
}

impl HeaderError {
    /// A refusal of one field.
    pub fn field(field: &str, problem: &str) -> Self {
        Self::Field {
            field: field.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

fn supported_types() -> String {
    TensorType::ALL.map(|kind| format!("{kind:?}")).join(", ")
}

/// A header being read.
pub(super) struct HeaderReader<R> {
    input: R,
    position: u64,
}

impl<R: Read> HeaderReader<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, position: 0 }
    }

    /// Bytes taken so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn magic(&mut self) -> Result<(), HeaderError> {
        let found = self.bytes::<4>("magic")?;
        if &found == b"GGUF" {
            return Ok(());
        }
        Err(HeaderError::Magic {
            found: found.escape_ascii().to_string(),
        })
    }

    pub(super) fn bytes<const N: usize>(&mut self, field: &str) -> Result<[u8; N], HeaderError> {
        let mut buffer = [0; N];
        self.input
            .read_exact(&mut buffer)
            .map_err(|source| self.failed(field, N as u64, source))?;
        self.advance(N as u64, field)?;
        Ok(buffer)
    }

    pub(super) fn u32(&mut self, field: &str) -> Result<u32, HeaderError> {
        self.bytes(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &str) -> Result<u64, HeaderError> {
        self.bytes(field).map(u64::from_le_bytes)
    }

    /// A number of things that follow, at most `limit`.
    pub(super) fn count(&mut self, field: &str, limit: u64) -> Result<u64, HeaderError> {
        let count = self.u64(field)?;
        if count > limit {
            return Err(HeaderError::field(
                field,
                &format!("is {count}, more than the {limit} that are accepted"),
            ));
        }
        Ok(count)
    }

    pub(super) fn string(&mut self, field: &str) -> Result<String, HeaderError> {
        let length = self.count(field, MAX_STRING_BYTES)?;
        let mut bytes = Vec::new();
        let read = (&mut self.input)
            .take(length)
            .read_to_end(&mut bytes)
            .map_err(|source| HeaderError::Io {
                field: field.to_owned(),
                source,
            })?;
        if (read as u64) < length {
            return Err(self.ended(field, length, read as u64));
        }
        self.advance(length, field)?;
        String::from_utf8(bytes).map_err(|_| HeaderError::field(field, "is not UTF-8"))
    }

    fn advance(&mut self, bytes: u64, field: &str) -> Result<(), HeaderError> {
        self.position += bytes;
        if self.position > MAX_HEADER_BYTES {
            return Err(HeaderError::field(
                field,
                &format!("lies beyond {MAX_HEADER_BYTES} bytes of header"),
            ));
        }
        Ok(())
    }

    fn failed(&self, field: &str, wanted: u64, source: std::io::Error) -> HeaderError {
        if source.kind() == std::io::ErrorKind::UnexpectedEof {
            return self.ended(field, wanted, 0);
        }
        HeaderError::Io {
            field: field.to_owned(),
            source,
        }
    }

    fn ended(&self, field: &str, wanted: u64, got: u64) -> HeaderError {
        let field = field.to_owned();
        HeaderError::Truncated {
            field,
            needed: self.position + wanted,
            length: self.position + got,
        }
    }
}
