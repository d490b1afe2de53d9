//! Whom the server runs as.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::EmbeddedError;

/// An account of the operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// The account to change to; `None` when the server may run as ourselves.
    pub(super) fn of_server() -> Result<Option<Self>, EmbeddedError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| find(&users, name))
            .map(Some)
            .ok_or(EmbeddedError::NoAccount)
    }

    /// Whether it may pass through a folder and all folders above it.
    pub(super) fn reaches(&self, folder: &Path) -> bool {
        folder
            .ancestors()
            .filter_map(|folder| fs::metadata(folder).ok())
            .all(|folder| folder.mode() & self.pass_bit(&folder) != 0)
    }

    fn pass_bit(&self, folder: &fs::Metadata) -> u32 {
        if folder.uid() == self.uid {
            0o100
        } else if folder.gid() == self.gid {
            0o010
        } else {
            0o001
        }
    }
}

fn find(users: &str, name: &str) -> Option<Account> {
    let fields = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))?;
    let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
    (uid != 0).then(|| Account {
        name: name.to_owned(),
        uid,
        gid,
    })
}
