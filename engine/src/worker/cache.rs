//! What was made of the same inputs before: `cache = { ttl = "1d" }`.
//!
//! ```text
//! key = SHA-256( plugin, its version, rendered `with`, rendered `env`, files of the version, params of the run )
//! ```
//! Places do not count, contents do: of a reference that carries its digest the `uri` is left out, and the address of an artifact is replaced
//! by its SHA-256. What a program reads beside its inputs (the clock, a service) is not in the key: it does not belong into a cached task.
//! A hit whose artifacts are not where they were is no hit.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::attempt::{Attempting, Prepared};
use crate::canonical;
use crate::clock;
use crate::store::cache::{Hit, Stored};

impl Attempting<'_> {
    /// The key of an attempt, where its task is cached.
    pub async fn cache_key(&self, prepared: &Prepared) -> Option<String> {
        self.claim.task().cache.as_ref()?;
        let shared = self.shared;
        let task = self.claim.task();
        let about = shared.registry.get(&task.uses)?.descriptor();
        // `check` refuses this; a version may have been stored before it did.
        if about.acts {
            return None;
        }
        // Without the digests of what it reads there is no key, and the task runs.
        let digests = shared.store.artifact_digests(self.claim.run).await.ok()?;
        let env = task.env.keys().map(|name| (name, prepared.ctx.env.get(name)));
        let files = task
            .files
            .iter()
            .filter_map(|name| Some((name, sha256(self.claim.flow.files.get(name)?))));
        let facts = json!({
            "plugin": task.uses,
            "version": about.version,
            "with": contents(&prepared.input, &digests),
            "env": env.collect::<BTreeMap<_, _>>(),
            "files": files.collect::<BTreeMap<_, _>>(),
            "params": self.around.facts.params,
        });
        // A secret is no content: nothing of it gets into what is stored.
        let facts = self.vault.mask.hide_value(facts);
        Some(sha256(&canonical::text(&facts)))
    }

    /// What an earlier attempt made of the same inputs, if it is still there. Trouble with looking is no hit.
    pub async fn cached(&self, key: &str) -> Option<Hit> {
        let policy = self.claim.task().cache.as_ref()?;
        if self.around.facts.no_cache {
            return None;
        }
        let store = &self.shared.store;
        let found = store.cached(key, policy.ttl, clock::now()).await;
        let Stored { hit, artifacts } = found.ok().flatten()?;
        for (uri, size) in artifacts {
            let path = uri.strip_prefix("file://")?;
            let there = tokio::fs::metadata(path).await.ok()?;
            if there.len() != size {
                return None;
            }
        }
        Some(hit)
    }
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// A value with contents in place of addresses.
fn contents(value: &Value, digests: &Arc<BTreeMap<String, String>>) -> Value {
    match value {
        Value::String(text) => match digests.get(text) {
            Some(digest) => Value::String(format!("sha256:{digest}")),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(|item| contents(item, digests)).collect(),
        Value::Object(fields) => {
            let told = ["sha256", "digest"]
                .iter()
                .any(|key| fields.get(*key).is_some_and(Value::is_string));
            let kept = fields.iter().filter(|(key, _)| !(told && *key == "uri"));
            let kept: Map<String, Value> = kept
                .map(|(key, item)| (key.clone(), contents(item, digests)))
                .collect();
            Value::Object(kept)
        }
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_do_not_count_and_contents_do() {
        let digests = Arc::new(BTreeMap::from([("file:///a/run1/x".to_owned(), "ab".to_owned())]));
        let value = json!({
            "table": {"uri": "file:///a/run1/t", "digest": "sha256:1", "rows": 3},
            "file": "file:///a/run1/x",
            "plain": {"uri": "s3://lake"},
        });
        assert_eq!(
            contents(&value, &digests),
            json!({
                "table": {"digest": "sha256:1", "rows": 3},
                "file": "sha256:ab",
                "plain": {"uri": "s3://lake"},
            })
        );
    }
}
