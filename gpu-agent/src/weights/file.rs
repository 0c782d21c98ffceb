//! A model file: opened once, its header checked, its digest verified, its tensors read one at a time.
//!
//! Tensors are read with positioned reads instead of a mapping: after the load nothing refers to the file, so a
//! file that changes or vanishes later cannot hurt a running agent.

use std::{
    fs::File,
    io::BufReader,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use super::{
    finite::is_finite,
    gguf::{Header, HeaderError, TensorInfo},
    quants::{TensorType, dequantise},
};

/// Bytes hashed at a time: large enough to hide the cost of a read, small beside any model.
const HASH_CHUNK_BYTES: usize = 1 << 20;
/// Bytes between two tensors that are read for the digest alone: more than any alignment. A tensor that is read far
/// ahead of its turn does not make the digest run after it.
const LARGEST_GAP_BYTES: u64 = 1 << 20;

/// Why a model cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be opened or read.
    #[error("cannot read model file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The header is not acceptable.
    #[error("cannot use model file {}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: HeaderError,
    },
    /// Other content than the digest promises.
    #[error(
        "model file {} has sha256 {actual}, not the expected {expected}; fetch the file again or correct the digest",
        path.display()
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// Digest that was asked for, in hexadecimal.
        expected: String,
        /// Digest of the file, in hexadecimal.
        actual: String,
    },
    /// A model family that is not implemented.
    #[error("model file {} has the architecture {architecture}, which is not supported; supported are llama, qwen2 and qwen3", path.display())]
    Architecture {
        /// The file.
        path: PathBuf,
        /// `general.architecture`.
        architecture: String,
    },
}

/// An open model file.
///
/// Its digest is computed beside the reads of its tensors, as long as these come in the order of the file: a file that
/// is loaded in that order is read once.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    file: File,
    header: Header,
    digest: Mutex<Digesting>,
}

/// How far the digest has come.
#[derive(Debug)]
struct Digesting {
    hash: Sha256,
    /// Bytes of the file that are in it.
    position: u64,
    sha256: Option<[u8; 32]>,
}

impl ModelFile {
    /// Opens a file, checks its header and computes its digest.
    ///
    /// # Errors
    /// The file cannot be read, is no acceptable GGUF, or has another digest than `expected`.
    pub fn open(path: &Path, expected: Option<[u8; 32]>) -> Result<Self, ModelError> {
        let file = Self::open_unverified(path)?;
        let actual = file.sha256()?;
        file.verify(expected.unwrap_or(actual))?;
        Ok(file)
    }

    /// Opens a copy that was verified when it came onto the node, and checks its header. It is not evicted while what
    /// is answered beside it is open.
    ///
    /// # Errors
    /// The file cannot be read, or is no acceptable GGUF.
    pub fn open_copy(path: &Path, sha256: [u8; 32]) -> Result<(Self, File), ModelError> {
        let file = Self::open_unverified(path)?;
        let held = file.file.try_clone().map_err(|source| file.io(source))?;
        held.lock_shared().map_err(|source| file.io(source))?;
        file.digest.lock().unwrap_or_else(PoisonError::into_inner).sha256 = Some(sha256);
        Ok((file, held))
    }

    /// Opens a file and checks its header. Nothing may be served of it before [`ModelFile::verify`].
    ///
    /// # Errors
    /// The file cannot be read, or is no acceptable GGUF.
    pub fn open_unverified(path: &Path) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let header = Header::read(BufReader::new(&file), length).map_err(|source| ModelError::Header {
            path: path.to_owned(),
            source,
        })?;
        let mut digest = Digesting {
            hash: Sha256::new(),
            position: 0,
            sha256: None,
        };
        let data = header.tensors.values().map(|info| info.offset).min();
        digest.advance(&file, data.unwrap_or(length)).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            header,
            digest: Mutex::new(digest),
        })
    }

    /// Makes sure that the file has this digest, reading what was not read yet.
    ///
    /// # Errors
    /// It has another one, or cannot be read.
    pub fn verify(&self, expected: [u8; 32]) -> Result<(), ModelError> {
        let actual = self.sha256()?;
        if actual == expected {
            return Ok(());
        }
        Err(ModelError::Digest {
            path: self.path.clone(),
            expected: hex::encode(expected),
            actual: hex::encode(actual),
        })
    }

    /// The file's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// SHA-256 of the whole file; reads what was not read yet.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn sha256(&self) -> Result<[u8; 32], ModelError> {
        let mut digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sha256) = digest.sha256 {
            return Ok(sha256);
        }
        digest
            .advance(&self.file, u64::MAX)
            .map_err(|source| self.io(source))?;
        let sha256 = std::mem::take(&mut digest.hash).finalize().into();
        digest.sha256 = Some(sha256);
        Ok(sha256)
    }

    /// Reads bytes; those that the digest has come to go into it.
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), ModelError> {
        self.file
            .read_exact_at(out, offset)
            .map_err(|source| self.io(source))?;
        let mut digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner);
        let gap = offset.checked_sub(digest.position);
        if digest.sha256.is_none() && gap.is_some_and(|gap| gap <= LARGEST_GAP_BYTES) {
            digest
                .advance(&self.file, offset)
                .map_err(|source| self.io(source))?;
            digest.hash.update(&*out);
            digest.position += out.len() as u64;
        }
        Ok(())
    }

    fn io(&self, source: std::io::Error) -> ModelError {
        ModelError::Io {
            path: self.path.clone(),
            source,
        }
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of a tensor, or `None` where the file has none of that name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Option<(&TensorInfo, Vec<u8>)>, ModelError> {
        let Some(info) = self.header.tensors.get(name) else {
            return Ok(None);
        };
        let length = usize::try_from(info.length).map_err(|_| self.refuse(name, "is larger than memory"))?;
        let mut bytes = vec![0; length];
        self.read(info.offset, &mut bytes)?;
        Ok(Some((info, bytes)))
    }

    /// A vector of `length` values as floats, or `None` where the file has none of that name.
    ///
    /// # Errors
    /// The tensor has another shape, holds a NaN or an infinity, or cannot be read.
    pub fn vector(&self, name: &str, length: usize) -> Result<Option<Vec<f32>>, ModelError> {
        let Some((info, bytes)) = self.tensor(name)? else {
            return Ok(None);
        };
        if info.dimensions != [length as u64] {
            return Err(self.refuse(name, &format!("has shape {:?}, not [{length}]", info.dimensions)));
        }
        self.check_finite(name, info.kind, &bytes)?;
        let mut values = vec![0.0; length];
        dequantise(info.kind, &bytes, &mut values);
        Ok(Some(values))
    }

    /// A matrix whose rows can be read, or `None` where the file has none of that name.
    ///
    /// # Errors
    /// The tensor has another shape.
    pub fn matrix(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Option<MatrixRows<'_>>, ModelError> {
        let Some((name, info)) = self.header.tensors.get_key_value(name) else {
            return Ok(None);
        };
        if info.dimensions != [columns as u64, rows as u64] {
            let problem = format!("has shape {:?}, not [{columns}, {rows}]", info.dimensions);
            return Err(self.refuse(name, &problem));
        }
        Ok(Some(MatrixRows {
            file: self,
            name,
            offset: info.offset,
            kind: info.kind,
            rows,
            columns,
        }))
    }

    /// Weights that are no numbers make every answer nonsense, and come of damage or of a faulty conversion.
    fn check_finite(&self, name: &str, kind: TensorType, bytes: &[u8]) -> Result<(), ModelError> {
        if is_finite(kind, bytes) {
            return Ok(());
        }
        Err(self.refuse(
            &format!("tensor {name}"),
            "holds a NaN or an infinity, which is not finite; convert or fetch the model again",
        ))
    }

    /// A refusal that names this file and a field.
    pub fn refuse(&self, field: &str, problem: &str) -> ModelError {
        self.wrap(HeaderError::field(field, problem))
    }

    /// Adds the file to an error of its header.
    pub fn wrap(&self, source: HeaderError) -> ModelError {
        ModelError::Header {
            path: self.path.clone(),
            source,
        }
    }
}

/// A matrix in its file. Rows are read as they are wanted, so that nobody has to hold all of them.
#[derive(Debug, Clone, Copy)]
pub struct MatrixRows<'a> {
    file: &'a ModelFile,
    name: &'a str,
    offset: u64,
    /// Encoding of the rows.
    pub kind: TensorType,
    /// Outputs.
    pub rows: usize,
    /// Inputs; a whole number of blocks.
    pub columns: usize,
}

impl MatrixRows<'_> {
    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.kind.row_bytes(self.columns)
    }

    /// Reads the encoded bytes of some rows into `out`, in place of what it holds.
    ///
    /// # Errors
    /// The rows hold a NaN or an infinity, or cannot be read.
    ///
    /// # Panics
    /// There are no such rows.
    pub fn read(&self, rows: Range<usize>, out: &mut Vec<u8>) -> Result<(), ModelError> {
        assert!(rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        let stride = self.row_bytes();
        out.resize(rows.len() * stride, 0);
        let offset = self.offset + rows.start as u64 * stride as u64;
        self.file.read(offset, out)?;
        self.file.check_finite(self.name, self.kind, out)
    }

    /// Reads all rows.
    ///
    /// # Errors
    /// As [`MatrixRows::read`].
    pub fn read_all(&self) -> Result<RawMatrix, ModelError> {
        let mut bytes = Vec::new();
        self.read(0..self.rows, &mut bytes)?;
        Ok(RawMatrix {
            kind: self.kind,
            rows: self.rows,
            columns: self.columns,
            bytes,
        })
    }
}

/// A matrix as the file encodes it, row by row.
#[derive(Debug, Clone)]
pub struct RawMatrix {
    /// Encoding of the rows.
    pub kind: TensorType,
    /// Outputs.
    pub rows: usize,
    /// Inputs; a whole number of blocks.
    pub columns: usize,
    /// `rows` rows of `kind.row_bytes(columns)` bytes.
    pub bytes: Vec<u8>,
}

impl RawMatrix {
    /// The encoded bytes of one row.
    pub fn row(&self, row: usize) -> &[u8] {
        let stride = self.kind.row_bytes(self.columns);
        &self.bytes[row * stride..][..stride]
    }
}

impl Digesting {
    /// Takes in the file up to `end`, or up to its own end.
    fn advance(&mut self, file: &File, end: u64) -> std::io::Result<()> {
        let mut chunk = vec![0; HASH_CHUNK_BYTES];
        while self.position < end {
            let left = usize::try_from(end - self.position).unwrap_or(usize::MAX);
            let read = file.read_at(&mut chunk[..left.min(HASH_CHUNK_BYTES)], self.position)?;
            if read == 0 {
                break;
            }
            self.hash.update(&chunk[..read]);
            self.position += read as u64;
        }
        Ok(())
    }
}
