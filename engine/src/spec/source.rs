//! A flow file as read: its text and the texts of the files it names.

use std::collections::BTreeMap;

/// A flow file in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceFile {
    /// Path as shown to people, and from whose stem the flow has its name.
    pub path: String,
    /// The text, without a byte order mark.
    pub text: String,
    /// The files it names: path as written → text, or why there is none.
    pub files: BTreeMap<String, Result<String, FileProblem>>,
    /// The program carries it: it has a name that nobody else's may have.
    pub built_in: bool,
}

impl SourceFile {
    /// A flow file that names no other files.
    pub fn new(path: impl Into<String>, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        Self {
            path: path.into(),
            text,
            files: BTreeMap::new(),
            built_in: false,
        }
    }

    /// File name without folder and `.toml`.
    pub fn stem(&self) -> &str {
        let name = self.path.rsplit(['/', '\\']).next().unwrap_or(&self.path);
        name.strip_suffix(".toml").unwrap_or(name)
    }
}

/// Why a file that a flow names cannot belong to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// Absolute, or with `..`.
    #[error("it must be a relative path without `..`")]
    NotBelow,
    /// A symbolic link leads out of the flow file's folder.
    #[error("it leads out of the flow file's folder")]
    LeadsOut,
    /// There is none.
    #[error("there is no such file")]
    Missing,
    /// A folder, a pipe, a device.
    #[error("it is not a regular file")]
    NotRegular,
    /// Too large; its size in bytes.
    #[error("it has {0} bytes; at most 1 MiB may belong to a flow")]
    TooLarge(u64),
    /// Position of the first byte that is no UTF-8.
    #[error("it is not UTF-8 (byte {0})")]
    NotText(usize),
    /// The operating system's words.
    #[error("{0}")]
    Unreadable(String),
}
