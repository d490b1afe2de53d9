//! Secrets at rest: AES-256-GCM, with the secret's name as associated data, so that none can stand in another's place.
//!
//! The key is 32 bytes, given as 64 hexadecimal digits or as base64, by whoever runs Tidegate or in a file of the home that only its
//! owner reads. Its id (the first eight digits of a hash) goes with what it sealed: a wrong key is told from damage.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest, Sha256};

use crate::clock;

/// Characters of a secret at least: a shorter one could not be hidden where tasks print it.
pub const SHORTEST: usize = 6;
/// Bytes of a secret at most.
pub const LONGEST: usize = 64 << 10;

/// Whether a secret may be called so: as `{{ secrets.NAME }}` can name it.
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty()
        && text.len() <= 100
        && text.chars().all(plain)
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Why a secret cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no key.
    #[error(
        "there is no key for secrets here: set TIDEGATE_SECRET_KEY (or TIDEGATE_SECRET_KEY_FILE) to the one they were set with"
    )]
    NoKey,
    /// The key is no key.
    #[error("the key for secrets must be 32 bytes, as 64 hexadecimal digits or as base64")]
    BadKey,
    /// The file of the key.
    #[error("the key for secrets in {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Sealed by another key.
    #[error(
        "secret `{name}` was set with another key ({theirs}) than the one here ({ours}); set it again, or give its key"
    )]
    OtherKey {
        /// Secret.
        name: String,
        /// Id of the key it was set with.
        theirs: String,
        /// Id of the key here.
        ours: String,
    },
    /// Its bytes are not what was sealed.
    #[error("secret `{name}` cannot be opened: its stored bytes are damaged")]
    Damaged {
        /// Secret.
        name: String,
    },
    /// The library refused to seal.
    #[error("the value cannot be sealed")]
    Unsealable,
}

/// A value as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Id of the key.
    pub key: String,
    /// Used once.
    pub nonce: Vec<u8>,
    /// Ciphertext and tag.
    pub bytes: Vec<u8>,
}

/// The key under which secrets are sealed.
#[derive(Clone)]
pub struct SecretKey {
    id: String,
    key: LessSafeKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.id)
    }
}

impl SecretKey {
    /// Reads 64 hexadecimal digits, or base64 of 32 bytes.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        let bytes = match hex::decode(text) {
            Ok(bytes) => bytes,
            Err(_) => STANDARD.decode(text).map_err(|_| SecretError::BadKey)?,
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| SecretError::BadKey)?;
        let mut hasher = Sha256::new();
        hasher.update(b"tidegate secret key ");
        hasher.update(&bytes);
        Ok(Self {
            id: hex::encode(hasher.finalize())[..8].to_owned(),
            key: LessSafeKey::new(key),
        })
    }

    /// Seals a value under a name.
    pub fn seal(&self, name: &str, value: &str) -> Result<Sealed, SecretError> {
        let nonce = clock::random_bytes::<12>();
        let mut bytes = value.as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut bytes,
            )
            .map_err(|_| SecretError::Unsealable)?;
        Ok(Sealed {
            key: self.id.clone(),
            nonce: nonce.to_vec(),
            bytes,
        })
    }

    /// Opens what was sealed under that name.
    pub fn open(&self, name: &str, sealed: &Sealed) -> Result<String, SecretError> {
        if sealed.key != self.id {
            return Err(SecretError::OtherKey {
                name: name.to_owned(),
                theirs: sealed.key.clone(),
                ours: self.id.clone(),
            });
        }
        let damaged = || SecretError::Damaged {
            name: name.to_owned(),
        };
        let nonce = Nonce::try_assume_unique_for_key(&sealed.nonce).map_err(|_| damaged())?;
        let mut bytes = sealed.bytes.clone();
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut bytes);
        let plain = plain.map_err(|_| damaged())?;
        String::from_utf8(plain.to_vec()).map_err(|_| damaged())
    }
}

/// Where the key is.
#[derive(Clone)]
pub enum KeySource {
    /// Given.
    Given(String),
    /// In a file, which may come later.
    File(PathBuf),
}

impl KeySource {
    /// The key; `NoKey` while its file does not exist.
    pub fn load(&self) -> Result<SecretKey, SecretError> {
        match self {
            Self::Given(text) => SecretKey::parse(text),
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => SecretKey::parse(&text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(SecretError::NoKey),
                Err(source) => Err(of_file(path, source)),
            },
        }
    }

    /// The key; its file is made, for its owner only, where there is none.
    pub fn load_or_make(&self) -> Result<SecretKey, SecretError> {
        match (self.load(), self) {
            (Err(SecretError::NoKey), Self::File(path)) => {
                make(path).map_err(|source| of_file(path, source))?;
                self.load()
            }
            (loaded, _) => loaded,
        }
    }
}

fn of_file(path: &Path, source: io::Error) -> SecretError {
    SecretError::File {
        path: path.to_owned(),
        source,
    }
}

/// Appears whole or not at all, and only once: of two that make it at once, one finds the other's.
fn make(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let new = folder.join(format!(".secret-{}", clock::new_id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    writeln!(file, "{}", hex::encode(clock::random_bytes::<32>()))?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&new, path);
    std::fs::remove_file(&new)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::parse(&hex::encode([byte; 32])).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_under_its_name_and_key_and_no_other() {
        let sealed = key(1).seal("token", "hunter22").unwrap();
        assert_eq!(key(1).open("token", &sealed).unwrap(), "hunter22");
        assert!(matches!(
            key(2).open("token", &sealed),
            Err(SecretError::OtherKey { .. })
        ));
        assert!(matches!(
            key(1).open("other", &sealed),
            Err(SecretError::Damaged { .. })
        ));
        let mut bent = sealed.clone();
        bent.bytes[0] ^= 1;
        assert!(matches!(
            key(1).open("token", &bent),
            Err(SecretError::Damaged { .. })
        ));
        assert!(!hex::encode(&sealed.bytes).contains(&hex::encode("hunter22")));
        assert_ne!(
            sealed,
            key(1).seal("token", "hunter22").unwrap(),
            "never the same twice"
        );
    }

    #[test]
    fn a_key_is_32_bytes_in_either_writing() {
        let bytes = [7; 32];
        let (hex, base64) = (hex::encode(bytes), STANDARD.encode(bytes));
        assert_eq!(
            SecretKey::parse(&hex).unwrap().id,
            SecretKey::parse(&format!("{base64}\n")).unwrap().id
        );
        for wrong in ["", "short", &hex[2..], "zz"] {
            assert!(
                matches!(SecretKey::parse(wrong), Err(SecretError::BadKey)),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_file_of_the_key_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("home/secret.key");
        let source = KeySource::File(path.clone());
        assert!(matches!(source.load(), Err(SecretError::NoKey)));
        let first = source.load_or_make().unwrap();
        assert_eq!(source.load_or_make().unwrap().id, first.id);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
