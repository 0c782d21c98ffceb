//! Bytes as people have them, read as lines of UTF-8 text.

/// What bytes are instead of UTF-8 text, as far as they tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Encoding {
    /// They begin with a byte order mark of UTF-16, or with two ASCII characters of it.
    #[error("is UTF-16 text")]
    Utf16,
    /// They begin with a byte order mark of UTF-32, or with an ASCII character of it.
    #[error("is UTF-32 text")]
    Utf32,
    /// They begin as an archive does.
    #[error("is compressed ({0})")]
    Compressed(&'static str),
    /// There are NUL bytes, which JSON never has.
    #[error("holds NUL bytes (the first one in line {0})")]
    Nul(usize),
}

const UTF8_MARK: &[u8] = &[0xEF, 0xBB, 0xBF];

/// The lines that hold something, with their numbers from 1. Each is checked by itself for UTF-8, so that a fault has
/// its place.
///
/// Lines end with LF, CRLF or CR, which JSON has in no string, and may do so in one way here and in another there: such
/// are texts that were put together of several. For the same reason a byte order mark is passed over at the beginning
/// of every line.
pub(super) fn lines(bytes: &[u8]) -> Result<impl Iterator<Item = (usize, &[u8])>, Encoding> {
    if let Some(encoding) = other_encoding(bytes) {
        return Err(encoding);
    }
    let has_text = |(_, line): &(usize, &[u8])| !line.trim_ascii().is_empty();
    Ok((1..).zip(split(bytes).map(without_mark)).filter(has_text))
}

fn other_encoding(bytes: &[u8]) -> Option<Encoding> {
    const ARCHIVES: [(&[u8], &str); 5] = [
        (&[0x1F, 0x8B], "gzip"),
        (b"PK\x03\x04", "zip"),
        (&[0x28, 0xB5, 0x2F, 0xFD], "zstd"),
        (&[0xFD, b'7', b'z', b'X', b'Z'], "xz"),
        (b"BZh", "bzip2"),
    ];
    match bytes {
        // The first two characters of JSON are ASCII, so that zeros tell the encoding, as in RFC 4627.
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] | [0, 0, 0, 1..=255, ..] | [1..=255, 0, 0, 0, ..] => {
            return Some(Encoding::Utf32);
        }
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [0, 1..=255, 0, 1..=255, ..] | [1..=255, 0, 1..=255, 0, ..] => {
            return Some(Encoding::Utf16);
        }
        _ => {}
    }
    if let Some((_, name)) = ARCHIVES.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(Encoding::Compressed(name));
    }
    let place = bytes.iter().position(|byte| *byte == 0)?;
    Some(Encoding::Nul(split(&bytes[..place]).count()))
}

/// Everything between line ends, also where that is nothing.
fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            rest = None;
            return Some(text);
        };
        let width = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = Some(&text[end + width..]);
        Some(&text[..end])
    })
}

fn without_mark(mut line: &[u8]) -> &[u8] {
    while let Some(rest) = line.strip_prefix(UTF8_MARK) {
        line = rest;
    }
    line
}
