//! Trying another rule on what past runs measured. It changes nothing, so whoever reads may.

use jiff::Timestamp;

use super::CommandError;
use super::runs::no_flow;
use crate::spec;
use crate::store::Store;
use crate::view::Trial;

/// What is tried.
#[derive(Debug, Clone)]
pub struct GateTrial {
    /// `above=0.36`, `max_drop=5%`, `borderline=0.01`.
    pub changes: Vec<String>,
    /// Which rule is meant, from 1, where it is not clear.
    pub rule: Option<usize>,
    /// How many runs, the newest.
    pub last: usize,
}

/// Judges what the newest runs came to a gate with by the gate of the current version, changed. `NotFound`; `Invalid` where the gate
/// cannot be changed so.
pub async fn try_gate(
    store: &Store,
    ((flow, task), asked): ((&str, &str), GateTrial),
    now: Timestamp,
) -> Result<Vec<Trial>, CommandError> {
    let Some((_, known)) = store.flow(flow, now).await? else {
        return Err(no_flow(store, flow).await?);
    };
    let gated = known
        .graph
        .tasks()
        .iter()
        .filter_map(|known| Some((&known.name, known.gate.as_ref()?)));
    let found = gated.clone().find(|(name, _)| name.as_str() == task);
    let Some((_, gate)) = found else {
        let help = spec::suggest(task, "it has", gated.map(|(name, _)| name.as_str()));
        return Err(CommandError::NotFound {
            what: "gate",
            name: format!("{flow}/{task}"),
            help: help.or_else(|| Some("none of its tasks has one".to_owned())),
        });
    };
    let gate = gate
        .with(&asked.changes, asked.rule)
        .map_err(|error| CommandError::Invalid {
            why: error.to_string(),
        })?;
    Ok(store.try_gate((flow, task), &gate, asked.last).await?)
}
