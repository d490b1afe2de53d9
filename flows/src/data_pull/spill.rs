//! Records of one size in 64 files by hash: what is too much for memory, in pieces that are not.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Number of files. At 50 million rows of 40 bytes a file holds 31 MB.
pub const BUCKETS: usize = 64;

/// Writes records into files by hash.
pub struct Spill {
    files: Vec<BufWriter<File>>,
    folder: PathBuf,
    name: &'static str,
}

/// Which file a key belongs to; equal keys share one.
pub fn bucket(key: i64) -> usize {
    (key.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize
}

impl Spill {
    /// Makes the files anew.
    pub fn create(folder: &Path, name: &'static str) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let open = |at| File::create(path(folder, name, at)).map(|f| BufWriter::with_capacity(64 << 10, f));
        let files = (0..BUCKETS).map(open).collect::<io::Result<_>>()?;
        Ok(Self {
            files,
            folder: folder.to_owned(),
            name,
        })
    }

    /// Adds a record to its key's file.
    pub fn push(&mut self, key: i64, record: &[u8]) -> io::Result<()> {
        self.files[bucket(key)].write_all(record)
    }

    /// Writes out what is still in memory.
    pub fn flush(&mut self) -> io::Result<()> {
        self.files.iter_mut().try_for_each(Write::flush)
    }

    /// All records of one file, which is removed.
    pub fn take<const N: usize>(&self, at: usize) -> io::Result<Vec<[u8; N]>> {
        let path = path(&self.folder, self.name, at);
        let mut file = io::BufReader::with_capacity(1 << 20, File::open(&path)?);
        let count = usize::try_from(file.get_ref().metadata()?.len()).map_err(io::Error::other)? / N;
        let mut records = Vec::with_capacity(count);
        for _ in 0..count {
            let mut record = [0; N];
            file.read_exact(&mut record)?;
            records.push(record);
        }
        std::fs::remove_file(path)?;
        Ok(records)
    }
}

fn path(folder: &Path, name: &str, at: usize) -> PathBuf {
    folder.join(format!("{name}-{at:02}"))
}

/// Counts different numbers.
pub struct Distinct {
    spill: Spill,
}

impl Distinct {
    /// A count of none.
    pub fn create(folder: &Path, name: &'static str) -> io::Result<Self> {
        Ok(Self {
            spill: Spill::create(folder, name)?,
        })
    }

    /// Adds numbers; sorts them to drop what is repeated among them.
    pub fn add(&mut self, mut ids: Vec<i64>) -> io::Result<()> {
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .try_for_each(|id| self.spill.push(id, &id.to_le_bytes()))
    }

    /// How many different numbers came.
    pub fn count(mut self) -> io::Result<u64> {
        self.spill.flush()?;
        let mut total = 0;
        for at in 0..BUCKETS {
            let mut ids = self.spill.take::<8>(at)?;
            ids.sort_unstable();
            ids.dedup();
            total += ids.len() as u64;
        }
        Ok(total)
    }
}
