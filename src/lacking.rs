//! What a flow needs of this deployment and does not find: secrets that nobody set, channels that no server knows. A run is made
//! all the same: a task that needs a secret fails in words, and a notice to nowhere waits, then is dead, for `show` to tell.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_engine::graph::Flow;
use tidegate_engine::store::{Store, StoreError};
use tidegate_engine::template::secrets_in;

use crate::config::Config;
use crate::term::complain;

/// Warns on standard error.
pub async fn warn_of(store: &Store, config: &Config, flow: &Flow) -> Result<(), StoreError> {
    let name = &flow.name;
    for secret in unset(store, flow).await? {
        complain(&format!(
            "warning: {name}: there is no secret `{secret}` yet; `tidegate secret set {secret}` sets it\n"
        ));
    }
    let channels: Vec<String> = flow.notify.iter().map(|notify| notify.to.clone()).collect();
    let mut unknown = store.unknown_channels(channels).await?;
    // A server that is about to start here will know them.
    unknown.retain(|channel| !config.settings.channels.contains_key(channel));
    for channel in unknown {
        complain(&format!(
            "warning: {name}: no server knows the channel `{channel}`; nobody is told until tidegate.toml has [channels.{channel}]\n"
        ));
    }
    Ok(())
}

async fn unset(store: &Store, flow: &Flow) -> Result<BTreeSet<String>, StoreError> {
    let mut named = BTreeSet::new();
    for task in flow.graph.tasks() {
        named.extend(secrets_in(&task.with));
        for text in task.env.values() {
            named.extend(secrets_in(&Value::String(text.clone())));
        }
    }
    if named.is_empty() {
        return Ok(named);
    }
    for secret in store.secrets().await? {
        named.remove(&secret.name);
    }
    Ok(named)
}
