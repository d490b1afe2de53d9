//! Finding an installed PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::place::Place;
use super::{EmbeddedError, Options};

/// The oldest version that serves.
pub(super) const OLDEST: u32 = 14;

/// Folders in which each version has a folder of its own: Debian's, and PGDG's of other distributions.
const BY_VERSION: &[(&str, &str, &str)] = &[("/usr/lib/postgresql", "", "bin"), ("/usr", "pgsql-", "bin")];

/// Where else it may be.
const USUAL: &[&str] = &["/usr/bin", "/usr/local/bin", "/usr/local/pgsql/bin"];

/// The programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
    pub(super) version: u32,
}

impl Binaries {
    /// The version that made the cluster, if there is one; else the first of PATH, or the newest installed.
    pub(super) fn find(options: &Options, place: &Place) -> Result<Self, EmbeddedError> {
        let candidates = match &options.bin {
            Some(folder) => {
                vec![in_folder(folder).ok_or_else(|| EmbeddedError::NotThere(folder.clone()))?]
            }
            None => installed(options),
        };
        let made_by = place.version();
        let fits = |found: &Self| made_by.is_none_or(|version| version == found.version);
        let known = !candidates.is_empty();
        candidates
            .into_iter()
            .find(fits)
            .ok_or_else(|| match made_by.filter(|_| known) {
                Some(version) => EmbeddedError::OtherVersion {
                    data: place.data(),
                    version,
                },
                None => EmbeddedError::NoBinaries,
            })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// All that are installed: those of PATH in its order, then the newest first.
fn installed(options: &Options) -> Vec<Binaries> {
    let path = options.path.iter().flat_map(std::env::split_paths);
    let mut found: Vec<Binaries> = path.filter_map(|folder| in_folder(&folder)).collect();
    let mut usual: Vec<Binaries> = versioned()
        .iter()
        .filter_map(|folder| in_folder(folder))
        .collect();
    usual.sort_by_key(|binaries| std::cmp::Reverse(binaries.version));
    found.extend(usual);
    found.extend(USUAL.iter().filter_map(|folder| in_folder(Path::new(folder))));
    found
}

fn versioned() -> Vec<PathBuf> {
    BY_VERSION
        .iter()
        .flat_map(|(root, prefix, bin)| {
            let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
            entries
                .filter(move |entry| entry.file_name().to_string_lossy().starts_with(prefix))
                .map(move |entry| entry.path().join(bin))
        })
        .collect()
}

fn in_folder(folder: &Path) -> Option<Binaries> {
    if !folder.is_absolute() || !folder.join("initdb").is_file() {
        return None;
    }
    let version = version_of(&folder.join("postgres"))?;
    (version >= OLDEST).then(|| Binaries {
        folder: folder.to_owned(),
        version,
    })
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → 15.
fn version_of(postgres: &Path) -> Option<u32> {
    let output = Command::new(postgres)
        .arg("--version")
        .env_clear()
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let major: String = number.chars().take_while(char::is_ascii_digit).collect();
    major.parse().ok()
}
