//! The hash of a flow version.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::id::VersionHash;

/// SHA-256 over source, named files and resolved vars. Every part is written with its length before it, so that no two
/// different versions are the same bytes.
pub(super) fn hash(
    source: &str,
    files: &BTreeMap<String, String>,
    vars: &BTreeMap<String, Value>,
) -> VersionHash {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    part(b"tidegate flow version 1");
    part(source.as_bytes());
    part(&(files.len() as u64).to_be_bytes());
    for (path, text) in files {
        part(path.as_bytes());
        part(text.as_bytes());
    }
    part(&(vars.len() as u64).to_be_bytes());
    for (name, value) in vars {
        part(name.as_bytes());
        part(value.to_string().as_bytes());
    }
    VersionHash(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_moves_from_one_part_to_another_changes_the_hash() {
        let files = |path: &str, text: &str| BTreeMap::from([(path.to_owned(), text.to_owned())]);
        let none = BTreeMap::new();
        let all = [
            hash("ab", &BTreeMap::new(), &none),
            hash("a", &files("b", ""), &none),
            hash("a", &files("", "b"), &none),
            hash(
                "a",
                &BTreeMap::new(),
                &BTreeMap::from([("b".to_owned(), Value::Null)]),
            ),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
