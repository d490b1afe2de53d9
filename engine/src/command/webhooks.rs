//! Taking the signed messages of other programs: the runs that `[[trigger]] on = "webhook"` makes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{CommandError, Triggered, runs};
use crate::graph::{Flow, Webhook};
use crate::secrets::KeySource;
use crate::store::orders::{Key, Order, What};
use crate::store::{Store, StoreError};
use crate::{clock, signature, template};

/// A message as it came.
pub struct Message<'m> {
    /// The flow that it is for.
    pub flow: &'m str,
    /// The value of a header, by its name in small letters.
    pub header: &'m (dyn Fn(&str) -> Option<&'m str> + Sync),
    /// What is signed.
    pub body: &'m [u8],
}

/// Makes the run that a message asks for. `None`: by the trigger's `when` it asks for none. A message that comes again makes no second
/// run. `Unsigned`: no flow takes it, or its signature does not fit.
pub async fn receive(
    store: &Store,
    keys: &KeySource,
    message: Message<'_>,
    now: Timestamp,
) -> Result<Option<Triggered>, CommandError> {
    let Some((flow, webhook)) = webhook_of(store, message.flow, now).await? else {
        return Err(CommandError::Unsigned);
    };
    let secret = secret(store, keys, &webhook).await?;
    let signed = (webhook.sender, secret.as_str());
    let name = signature::check(signed, message.header, message.body, now.as_second()).map_err(|why| {
        tracing::warn!(flow = message.flow, %why, "a webhook is refused");
        CommandError::Unsigned
    })?;
    let scope = scope(message.body)?;
    if let Some(when) = &webhook.when
        && !asks(when, &scope)?
    {
        return Ok(None);
    }
    let order = order(&flow, (&webhook, &scope), &name)?;
    let placed = store.place(order, now).await?;
    runs::answer(store, (placed, None), now).await.map(Some)
}

async fn webhook_of(
    store: &Store,
    flow: &str,
    now: Timestamp,
) -> Result<Option<(std::sync::Arc<Flow>, Webhook)>, StoreError> {
    let found = store.flow(flow, now).await?;
    Ok(found.and_then(|(_, flow)| {
        let webhook = flow.webhook.clone()?;
        Some((flow, webhook))
    }))
}

/// The secret that messages are signed with. What is wrong with it is told to the log, not to whoever knocks.
async fn secret(store: &Store, keys: &KeySource, webhook: &Webhook) -> Result<String, CommandError> {
    let name = &webhook.secret;
    let sealed = store.sealed(&BTreeSet::from([name.clone()])).await?;
    let opened = match sealed.first() {
        None => Err(format!("set it: tidegate secret set {name}")),
        Some((_, sealed)) => {
            let opened = keys.load().and_then(|key| key.open(name, sealed));
            opened.map_err(|error| error.to_string())
        }
    };
    opened.map_err(|why| {
        tracing::error!(secret = name, why, "webhooks cannot be checked");
        CommandError::NotReady {
            why: "webhooks cannot be checked here now".to_owned(),
        }
    })
}

fn scope(body: &[u8]) -> Result<Value, CommandError> {
    if body.is_empty() {
        return Ok(json!({ "body": null }));
    }
    let body: Value = serde_json::from_slice(body).map_err(|error| CommandError::Invalid {
        why: format!("the body is no JSON: {error}"),
    })?;
    Ok(json!({ "body": body }))
}

fn asks(when: &str, scope: &Value) -> Result<bool, CommandError> {
    match template::evaluate(when, scope) {
        Ok(Value::Bool(asks)) => Ok(asks),
        Ok(other) => Err(CommandError::Invalid {
            why: format!("the trigger's `when` yields {other}, not true or false"),
        }),
        Err(error) => Err(CommandError::Invalid {
            why: format!("the trigger's `when`: {error}"),
        }),
    }
}

/// Who sent it is no person, so nobody can approve what they themselves asked for by this way.
fn order(flow: &Flow, (webhook, scope): (&Webhook, &Value), name: &str) -> Result<Order, CommandError> {
    let mut params = Map::new();
    for (param, value) in &webhook.params {
        let value = template::render_value(value, scope).map_err(|error| CommandError::Invalid {
            why: format!("param `{param}`: {error}"),
        })?;
        params.insert(param.clone(), value);
    }
    let actor = format!("webhook:{}", flow.name);
    Ok(Order {
        id: clock::new_run_id(),
        key: Some(Key::new("webhook", &actor, (name, &Value::Null))),
        actor,
        what: What::Flow {
            name: flow.name.to_string(),
            params,
            trigger: "webhook",
            no_cache: false,
            emergency: None,
        },
    })
}
