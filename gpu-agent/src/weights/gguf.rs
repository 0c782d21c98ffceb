//! GGUF, the file format of quantised models: typed metadata and a tensor directory.
//!
//! Reads the header of version 2 and 3 files (little-endian), per the specification in ggml's `docs/gguf.md`. The input
//! is hostile until its digest was checked, so no count in the file is believed: memory grows with the bytes
//! that were really read, every product is checked, and every refusal names the field.

mod reader;
mod value;
mod writer;

use std::{collections::BTreeMap, io::Read};

pub use reader::HeaderError;
use reader::HeaderReader;
pub use value::{Array, Value};
pub use writer::Writer;

use super::quants::TensorType;

/// Most metadata entries of a file. Real files have 20–60.
const MAX_METADATA_ENTRIES: u64 = 4096;
/// Most tensors of a file. A 400-billion-parameter mixture of experts has about 3,000.
const MAX_TENSORS: u64 = 65_536;
/// Most dimensions of a tensor, as the format fixes it.
const MAX_DIMENSIONS: u32 = 4;
/// Most elements of one tensor: 2^40 is over a hundred times the largest published matrix, and far from overflow.
const MAX_ELEMENTS: u64 = 1 << 40;
/// Largest alignment of tensor data that is accepted; files use 32.
const MAX_ALIGNMENT: u64 = 1 << 16;
/// Alignment of tensor data where `general.alignment` is absent.
const DEFAULT_ALIGNMENT: u64 = 32;

/// Where one tensor's bytes lie and how they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Extents, fastest-varying first, as the file has them: a matrix is `[columns, rows]`.
    pub dimensions: Vec<u64>,
    /// Encoding of the elements.
    pub kind: TensorType,
    /// Offset of the first byte from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// A parsed header. Every tensor's range lies within the file.
#[derive(Debug, Clone)]
pub struct Header {
    /// Metadata by key, such as `llama.block_count`.
    pub metadata: BTreeMap<String, Value>,
    /// Tensors by name, such as `blk.0.attn_q.weight`.
    pub tensors: BTreeMap<String, TensorInfo>,
}

impl Header {
    /// Reads a header from the start of a file that is `file_length` bytes long.
    ///
    /// # Errors
    /// The bytes are not GGUF, end too early, or contradict themselves or the length; the error names the field.
    pub fn read(input: impl Read, file_length: u64) -> Result<Self, HeaderError> {
        let mut reader = HeaderReader::new(input);
        reader.magic()?;
        let version = reader.u32("version")?;
        if !(2..=3).contains(&version) {
            return Err(if (1..=3).contains(&version.swap_bytes()) {
                HeaderError::BigEndian
            } else {
                HeaderError::Version { version }
            });
        }
        let tensor_count = reader.count("tensor_count", MAX_TENSORS)?;
        let entry_count = reader.count("metadata_kv_count", MAX_METADATA_ENTRIES)?;

        let mut metadata = BTreeMap::new();
        for index in 0..entry_count {
            let key = reader.string(&format!("metadata key {index}"))?;
            let value = Value::read(&mut reader, &key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(HeaderError::field(&key, "appears twice"));
            }
        }

        refuse_split(&metadata)?;

        let mut tensors = BTreeMap::new();
        for index in 0..tensor_count {
            let (name, info) = read_tensor(&mut reader, index)?;
            if tensors.insert(name.clone(), info).is_some() {
                return Err(HeaderError::field(&format!("tensor {name}"), "appears twice"));
            }
        }
        place_tensors(
            &mut tensors,
            alignment(&metadata)?,
            reader.position(),
            file_length,
        )?;
        Ok(Self { metadata, tensors })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The key is absent.
    pub fn require(&self, key: &str) -> Result<&Value, HeaderError> {
        self.metadata
            .get(key)
            .ok_or_else(|| HeaderError::field(key, "is missing"))
    }

    /// A non-negative integer that fits `u32`, or `None` where the key is absent.
    ///
    /// # Errors
    /// The value has another type or does not fit.
    pub fn u32(&self, key: &str) -> Result<Option<u32>, HeaderError> {
        self.typed(key, "an unsigned 32-bit integer", Value::as_u32)
    }

    /// A float, or `None` where the key is absent.
    ///
    /// # Errors
    /// The value has another type or is not finite.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, HeaderError> {
        self.typed(key, "a finite float", Value::as_f32)
    }

    /// A boolean, or `None` where the key is absent.
    ///
    /// # Errors
    /// The value has another type.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, HeaderError> {
        self.typed(key, "a boolean", Value::as_bool)
    }

    /// A text, or `None` where the key is absent.
    ///
    /// # Errors
    /// The value has another type.
    pub fn text(&self, key: &str) -> Result<Option<&str>, HeaderError> {
        self.typed(key, "a string", Value::as_str)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, HeaderError> {
        let Some(value) = self.metadata.get(key) else {
            return Ok(None);
        };
        read(value)
            .map(Some)
            .ok_or_else(|| HeaderError::field(key, &format!("is not {expected}")))
    }
}

fn read_tensor(
    reader: &mut HeaderReader<impl Read>,
    index: u64,
) -> Result<(String, TensorInfo), HeaderError> {
    let name = reader.string(&format!("name of tensor {index}"))?;
    let field = format!("tensor {name}");
    let dimension_count = reader.u32(&field)?;
    if dimension_count == 0 || dimension_count > MAX_DIMENSIONS {
        return Err(HeaderError::field(
            &field,
            &format!("has {dimension_count} dimensions, not 1 to {MAX_DIMENSIONS}"),
        ));
    }
    let mut dimensions = Vec::new();
    let mut elements = 1u64;
    for _ in 0..dimension_count {
        let extent = reader.u64(&field)?;
        elements = match elements.checked_mul(extent) {
            Some(product) if (1..=MAX_ELEMENTS).contains(&product) => product,
            _ => return Err(HeaderError::field(&field, "is empty or has too many elements")),
        };
        dimensions.push(extent);
    }
    let code = reader.u32(&field)?;
    let kind = TensorType::from_code(code).ok_or_else(|| HeaderError::TensorType {
        tensor: field.clone(),
        kind: TensorType::name_of(code).map_or_else(|| code.to_string(), str::to_owned),
    })?;
    if !dimensions[0].is_multiple_of(kind.block_elements() as u64) {
        return Err(HeaderError::field(
            &field,
            &format!("has rows that are no whole number of {kind:?} blocks"),
        ));
    }
    let length = elements / kind.block_elements() as u64 * kind.block_bytes() as u64;
    let offset = reader.u64(&field)?;
    Ok((
        name,
        TensorInfo {
            dimensions,
            kind,
            offset,
            length,
        },
    ))
}

/// A model in several files has most of its tensors elsewhere.
fn refuse_split(metadata: &BTreeMap<String, Value>) -> Result<(), HeaderError> {
    const KEY: &str = "split.count";
    match metadata.get(KEY).and_then(Value::as_u32) {
        None | Some(0 | 1) => Ok(()),
        Some(count) => Err(HeaderError::field(
            KEY,
            &format!(
                "is {count}: the model is split into {count} files; merge them into one with `llama-gguf-split --merge`"
            ),
        )),
    }
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, HeaderError> {
    const KEY: &str = "general.alignment";
    let Some(value) = metadata.get(KEY) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    // The specification wants a multiple of 8, llama.cpp a power of two: files of either kind exist.
    let is_allowed = |alignment: u64| alignment.is_power_of_two() || alignment.is_multiple_of(8);
    match value.as_u32().map(u64::from) {
        Some(alignment @ 1..=MAX_ALIGNMENT) if is_allowed(alignment) => Ok(alignment),
        _ => Err(HeaderError::field(
            KEY,
            &format!("is no multiple of 8 up to {MAX_ALIGNMENT}, and no power of two"),
        )),
    }
}

/// Turns offsets into the data section into offsets into the file, and checks that every range lies in the file.
fn place_tensors(
    tensors: &mut BTreeMap<String, TensorInfo>,
    alignment: u64,
    header_length: u64,
    file_length: u64,
) -> Result<(), HeaderError> {
    let data_start = header_length.next_multiple_of(alignment);
    for (name, info) in tensors {
        let field = format!("tensor {name}");
        if !info.offset.is_multiple_of(alignment) {
            return Err(HeaderError::field(
                &field,
                &format!("starts at {}, which is not aligned", info.offset),
            ));
        }
        let end = info
            .offset
            .checked_add(data_start)
            .and_then(|start| {
                info.offset = start;
                start.checked_add(info.length)
            })
            .ok_or_else(|| HeaderError::field(&field, "has an offset beyond any file"))?;
        if end > file_length {
            return Err(HeaderError::Truncated {
                field,
                needed: end,
                length: file_length,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
