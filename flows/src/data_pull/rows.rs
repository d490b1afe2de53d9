//! A row on its way through the spill files.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use tidegate_engine::plugin::TaskError;

use super::spill::Spill;

/// Bytes of a [`Row`] in a spill file.
pub const WIDTH: usize = 40;

/// No event type.
const NO_KIND: u16 = u16::MAX;

/// An event; its type is an index into [`Sink::kinds`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    pub id: i64,
    pub ts: i64,
    pub user: i64,
    pub item: i64,
    pub value: Option<f32>,
    pub kind: Option<u16>,
}

impl Row {
    fn encode(&self) -> [u8; WIDTH] {
        let mut out = [0; WIDTH];
        out[..8].copy_from_slice(&self.id.to_le_bytes());
        out[8..16].copy_from_slice(&self.ts.to_le_bytes());
        out[16..24].copy_from_slice(&self.user.to_le_bytes());
        out[24..32].copy_from_slice(&self.item.to_le_bytes());
        out[32..36].copy_from_slice(&self.value.unwrap_or_default().to_le_bytes());
        out[36..38].copy_from_slice(&self.kind.unwrap_or(NO_KIND).to_le_bytes());
        out[38] = u8::from(self.value.is_some());
        out
    }

    /// Reads back a record of a spill file.
    pub fn decode(record: &[u8; WIDTH]) -> Self {
        let long = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&record[at..at + 8]);
            i64::from_le_bytes(bytes)
        };
        let value = f32::from_le_bytes([record[32], record[33], record[34], record[35]]);
        let kind = u16::from_le_bytes([record[36], record[37]]);
        Self {
            id: long(0),
            ts: long(8),
            user: long(16),
            item: long(24),
            value: (record[38] == 1).then_some(value),
            kind: (kind != NO_KIND).then_some(kind),
        }
    }
}

/// Where the rows of all sources go.
pub struct Sink {
    /// Rows by the hash of their id.
    pub spill: Spill,
    /// Event types by their index.
    pub kinds: Vec<String>,
    /// Rows so far.
    pub rows: u64,
    /// The folder of all spill files.
    pub folder: PathBuf,
    indexes: HashMap<String, u16>,
}

impl Sink {
    /// An empty sink in a folder of its own.
    pub fn create(folder: &Path) -> Result<Self, TaskError> {
        let spill = Spill::create(folder, "rows").map_err(|e| disk(folder, &e))?;
        Ok(Self {
            spill,
            kinds: Vec::new(),
            rows: 0,
            folder: folder.to_owned(),
            indexes: HashMap::new(),
        })
    }

    /// The index of an event type.
    pub fn kind(&mut self, name: &str) -> Result<u16, TaskError> {
        if let Some(index) = self.indexes.get(name) {
            return Ok(*index);
        }
        let index = u16::try_from(self.kinds.len()).ok().filter(|i| *i != NO_KIND);
        let index = index.ok_or_else(|| {
            TaskError::fail("event_type has more than 65,535 values; is it the right column?")
        })?;
        self.kinds.push(name.to_owned());
        self.indexes.insert(name.to_owned(), index);
        Ok(index)
    }

    /// Takes a row.
    pub fn push(&mut self, row: &Row) -> Result<(), TaskError> {
        self.rows += 1;
        self.spill
            .push(row.id, &row.encode())
            .map_err(|e| disk(&self.folder, &e))
    }
}

/// Trouble with the scratch folder.
pub fn disk(folder: &Path, error: &io::Error) -> TaskError {
    TaskError::retry(format_args!(
        "scratch space {}: {error}; it needs 40 bytes a row",
        folder.display()
    ))
}
