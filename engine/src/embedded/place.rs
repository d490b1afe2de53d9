//! The folders of a private PostgreSQL.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::account::Account;
use super::{EmbeddedError, io};
use crate::clock;

/// Who connects; the only role of the cluster.
pub(super) const ROLE: &str = "tidegate";

const SOCKET: &str = ".s.PGSQL.5432";

/// Bytes that the path of a Unix socket may have.
const SOCKET_PATH: usize = 107;

/// Where a server lives whose account cannot reach the home.
const ELSEWHERE: &str = "/var/lib/tidegate";

/// The folders of a private PostgreSQL, and whom they belong to.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// `HOME/pg`, links resolved.
    pub(super) root: PathBuf,
    /// Folder of the socket.
    pub(super) socket: PathBuf,
    /// Whom the server runs as; `None`: ourselves.
    pub(super) account: Option<Account>,
}

impl Place {
    /// The folders of a home, made where they are missing.
    pub(super) fn open(home: &Path, account: Option<Account>) -> Result<Self, EmbeddedError> {
        let link = home.join("pg");
        let root = match link.canonicalize() {
            Ok(root) => root,
            Err(error) if error.kind() == ErrorKind::NotFound => make_root(&link, account.as_ref())?,
            Err(error) => return Err(io("find", &link)(error)),
        };
        let above = root.parent().unwrap_or(&root);
        if let Some(account) = account.as_ref().filter(|account| !account.reaches(above)) {
            return Err(EmbeddedError::Closed {
                account: account.name.clone(),
                folder: root,
            });
        }
        let socket = socket_folder(&root);
        let place = Self {
            root,
            socket,
            account,
        };
        place.own(&place.root)?;
        if place.socket != place.root {
            place.open_socket_folder()?;
        }
        Ok(place)
    }

    /// The folders of a home as they are; `None` when there are none.
    pub(super) fn look(home: &Path) -> Option<Self> {
        let root = home.join("pg").canonicalize().ok()?;
        Some(Self {
            socket: socket_folder(&root),
            root,
            account: None,
        })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    pub(super) fn password_file(&self) -> PathBuf {
        self.root.join("password")
    }

    pub(super) fn socket_file(&self) -> PathBuf {
        self.socket.join(SOCKET)
    }

    /// Major version of the PostgreSQL that made the cluster; `None` before there is one.
    pub(super) fn version(&self) -> Option<u32> {
        let text = fs::read_to_string(self.data().join("PG_VERSION")).ok()?;
        text.trim().parse().ok()
    }

    pub(super) fn url(&self) -> Result<String, EmbeddedError> {
        let file = self.password_file();
        let password = fs::read_to_string(&file).map_err(io("read", &file))?;
        let host = percent_encoded(&self.socket);
        Ok(format!(
            "postgres://{ROLE}:{}@localhost/postgres?host={host}",
            password.trim()
        ))
    }

    /// Closes a folder or a file to everybody but the server's account (and root).
    pub(super) fn own(&self, path: &Path) -> Result<(), EmbeddedError> {
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io("close", path))?;
        match &self.account {
            Some(account) => chown(path, Some(account.uid), Some(account.gid)).map_err(io("give away", path)),
            None => Ok(()),
        }
    }

    /// `/tmp` is everybody's: what lies there under our name must be ours.
    fn open_socket_folder(&self) -> Result<(), EmbeddedError> {
        let folder = &self.socket;
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => self.own(folder),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let found = fs::symlink_metadata(folder).map_err(io("find", folder))?;
                let own = rustix::process::geteuid().as_raw();
                let owner = self.account.as_ref().map_or(own, |account| account.uid);
                let ours = found.is_dir() && found.uid() == owner && found.mode() & 0o077 == 0;
                ours.then_some(())
                    .ok_or_else(|| EmbeddedError::Foreign(folder.clone()))
            }
            Err(error) => Err(io("make", folder)(error)),
        }
    }
}

/// Makes `pg`: a folder, or a link to one that the server's account can reach.
fn make_root(link: &Path, account: Option<&Account>) -> Result<PathBuf, EmbeddedError> {
    let home = link.parent().unwrap_or(link);
    if account.is_none_or(|account| account.reaches(home)) {
        fs::create_dir(link).map_err(io("make", link))?;
        return link.canonicalize().map_err(io("find", link));
    }
    let name = format!("pg-{}", hex::encode(clock::random_bytes::<8>()));
    let root = Path::new(ELSEWHERE).join(name);
    fs::create_dir_all(&root).map_err(io("make", &root))?;
    // A link whose folder was removed: its data are gone, and so is what it was good for.
    let _ = fs::remove_file(link);
    symlink(&root, link).map_err(io("link", link))?;
    Ok(root)
}

/// The cluster's own folder, or a short one when a socket's path does not fit.
fn socket_folder(root: &Path) -> PathBuf {
    if root.join(SOCKET).as_os_str().len() <= SOCKET_PATH {
        return root.to_owned();
    }
    let digest = hex::encode(Sha256::digest(root.as_os_str().as_bytes()));
    PathBuf::from(format!("/tmp/tidegate-{}", &digest[..16]))
}

fn percent_encoded(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
