//! The weights format: a JSON header, then little-endian sections, then a checksum.
//!
//! ```text
//! "TIDEGATE" · version u32 · header length u32 · header JSON · sections · CRC-32 u32
//! header = {"kind": …, "meta": {…}, "sections": [{"name", "dtype", "count"}, …]}
//! ```
//! The checksum covers everything before it. All integers are little-endian; sections follow each other in the
//! order of the header without padding.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"TIDEGATE";
const VERSION: u32 = 1;
const PREFIX: usize = 16;

/// Why bytes are not a model (or a checkpoint).
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not this format at all.
    #[error("not a model file")]
    Magic,
    /// Written by another version of the format.
    #[error("model file of version {0}, this program reads version {VERSION}")]
    Version(u32),
    /// Shorter or longer than its header says.
    #[error("model file is truncated or has a wrong length")]
    Length,
    /// The checksum disagrees.
    #[error("model file is damaged")]
    Checksum,
    /// Another kind of model than asked for.
    #[error("model file holds a {found:?}, not a {wanted:?}")]
    Kind {
        /// What the file says.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// A section is missing, of another type or of another size.
    #[error("model file has no fitting section {0:?}")]
    Section(String),
    /// The header is not what it should be.
    #[error("model file has a bad header")]
    Header(#[from] serde_json::Error),
    /// The parts contradict each other.
    #[error("model file contradicts itself: {0}")]
    Inconsistent(&'static str),
}

#[derive(Serialize, Deserialize)]
struct Header {
    kind: String,
    meta: serde_json::Value,
    sections: Vec<SectionHead>,
}

#[derive(Serialize, Deserialize)]
struct SectionHead {
    name: String,
    dtype: String,
    count: usize,
}

/// A number that a section can hold.
pub trait Element: Copy {
    /// Name of the type in the header.
    const DTYPE: &'static str;
    /// Bytes per element.
    const WIDTH: usize;
    /// Appends the little-endian bytes.
    fn put(self, out: &mut Vec<u8>);
    /// Reads from exactly `WIDTH` bytes.
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($($type:ty => $name:literal),*) => {$(
        impl Element for $type {
            const DTYPE: &'static str = $name;
            const WIDTH: usize = size_of::<$type>();
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn get(bytes: &[u8]) -> Self {
                let mut raw = [0u8; size_of::<$type>()];
                raw.copy_from_slice(bytes);
                Self::from_le_bytes(raw)
            }
        }
    )*};
}
element!(f32 => "f32", f64 => "f64", i64 => "i64", u32 => "u32", u8 => "u8");

/// Collects sections and writes the file.
pub struct Writer {
    header: Header,
    body: Vec<u8>,
}

impl Writer {
    /// A file of a kind with JSON facts about it.
    pub fn new(kind: &str, meta: serde_json::Value) -> Self {
        Self {
            header: Header {
                kind: kind.to_owned(),
                meta,
                sections: Vec::new(),
            },
            body: Vec::new(),
        }
    }

    /// Appends a section.
    #[must_use]
    pub fn section<T: Element>(mut self, name: &str, values: &[T]) -> Self {
        let (name, dtype) = (name.to_owned(), T::DTYPE.to_owned());
        self.header.sections.push(SectionHead {
            name,
            dtype,
            count: values.len(),
        });
        self.body.reserve(values.len() * T::WIDTH);
        for value in values {
            value.put(&mut self.body);
        }
        self
    }

    /// The finished file.
    pub fn finish(self) -> Vec<u8> {
        let header = serde_json::json!(self.header).to_string();
        let mut out = Vec::with_capacity(PREFIX + header.len() + self.body.len() + 4);
        out.extend_from_slice(MAGIC);
        VERSION.put(&mut out);
        (header.len() as u32).put(&mut out);
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&self.body);
        crc32(&out).put(&mut out);
        out
    }
}

/// A file whose frame and checksum hold.
pub struct Reader<'a> {
    header: Header,
    body: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks frame, version, checksum and lengths.
    pub fn new(bytes: &'a [u8]) -> Result<Self, FileError> {
        if bytes.len() < PREFIX + 4 || &bytes[..8] != MAGIC {
            return Err(FileError::Magic);
        }
        let version = u32::get(&bytes[8..12]);
        if version != VERSION {
            return Err(FileError::Version(version));
        }
        let (content, sum) = bytes.split_at(bytes.len() - 4);
        if crc32(content) != u32::get(sum) {
            return Err(FileError::Checksum);
        }
        let length = u32::get(&bytes[12..16]) as usize;
        let header = content
            .get(PREFIX..PREFIX.saturating_add(length))
            .ok_or(FileError::Length)?;
        let header: Header = serde_json::from_slice(header)?;
        let body = &content[PREFIX + length..];
        let widths = header
            .sections
            .iter()
            .map(|head| head.count.checked_mul(width(&head.dtype)?));
        let total = widths.sum::<Option<usize>>().ok_or(FileError::Length)?;
        if total == body.len() {
            Ok(Self { header, body })
        } else {
            Err(FileError::Length)
        }
    }

    /// The same, and the kind must be `wanted`.
    pub fn of_kind(bytes: &'a [u8], wanted: &str) -> Result<Self, FileError> {
        let reader = Self::new(bytes)?;
        if reader.kind() == wanted {
            return Ok(reader);
        }
        Err(FileError::Kind {
            found: reader.header.kind,
            wanted: wanted.to_owned(),
        })
    }

    /// What the file holds.
    pub fn kind(&self) -> &str {
        &self.header.kind
    }

    /// The JSON facts, typed.
    pub fn meta<T: DeserializeOwned>(&self) -> Result<T, FileError> {
        Ok(serde_json::from_value(self.header.meta.clone())?)
    }

    /// A section by name.
    pub fn section<T: Element>(&self, name: &str) -> Result<Vec<T>, FileError> {
        let mut start = 0;
        for head in &self.header.sections {
            let length = head.count * width(&head.dtype).unwrap_or(0);
            if head.name == name && head.dtype == T::DTYPE {
                return Ok(self.body[start..start + length]
                    .chunks_exact(T::WIDTH)
                    .map(T::get)
                    .collect());
            }
            start += length;
        }
        Err(FileError::Section(name.to_owned()))
    }

    /// A section that must have `count` elements.
    pub fn sized<T: Element>(&self, name: &str, count: usize) -> Result<Vec<T>, FileError> {
        let values = self.section(name)?;
        if values.len() == count {
            Ok(values)
        } else {
            Err(FileError::Section(name.to_owned()))
        }
    }
}

fn width(dtype: &str) -> Option<usize> {
    match dtype {
        "f32" | "u32" => Some(4),
        "f64" | "i64" => Some(8),
        "u8" => Some(1),
        _ => None,
    }
}

/// CRC-32 (IEEE 802.3, reflected), eight bytes a step.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLES: [[u32; 256]; 8] = crc_tables();
    let mut crc = !0u32;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let low = crc ^ u32::get(&chunk[..4]);
        crc = 0;
        for at in 0..4 {
            crc ^= TABLES[7 - at][(low >> (8 * at)) as usize & 0xFF];
            crc ^= TABLES[3 - at][chunk[4 + at] as usize];
        }
    }
    for byte in chunks.remainder() {
        crc = TABLES[0][((crc ^ u32::from(*byte)) & 0xFF) as usize] ^ (crc >> 8);
    }
    !crc
}

const fn crc_tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut at = 0;
    while at < 256 {
        let mut value = at as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                0xEDB8_8320 ^ (value >> 1)
            } else {
                value >> 1
            };
            bit += 1;
        }
        tables[0][at] = value;
        at += 1;
    }
    let mut at = 256;
    while at < 256 * 8 {
        let before = tables[at / 256 - 1][at % 256];
        tables[at / 256][at % 256] = tables[0][(before & 0xFF) as usize] ^ (before >> 8);
        at += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests fail by panicking"
    )]
    use super::*;

    fn file() -> Vec<u8> {
        let meta = serde_json::json!({"a": 1});
        Writer::new("thing", meta)
            .section("x", &[1.5f32, -0.0])
            .section("y", &[i64::MIN, 7])
            .finish()
    }

    #[test]
    fn crc_is_the_well_known_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn sections_come_back() {
        let bytes = file();
        let reader = Reader::of_kind(&bytes, "thing").unwrap();
        assert_eq!(reader.section::<f32>("x").unwrap(), [1.5, -0.0]);
        assert_eq!(reader.sized::<i64>("y", 2).unwrap(), [i64::MIN, 7]);
        assert!(reader.section::<u32>("x").is_err());
        assert!(reader.sized::<f32>("x", 3).is_err());
        assert!(matches!(
            Reader::of_kind(&bytes, "other"),
            Err(FileError::Kind { .. })
        ));
    }

    #[test]
    fn every_flipped_byte_and_every_truncation_is_an_error() {
        let bytes = file();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            assert!(Reader::new(&damaged).is_err(), "byte {at}");
            assert!(Reader::new(&bytes[..at]).is_err(), "length {at}");
        }
    }
}
