//! What the templates of an attempt may name.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::store::claim::Claim;
use crate::store::surroundings::Surroundings;
use crate::template::{Reference, Step};

/// The names. What a need handed on that did not succeed is null: who runs even then sees that.
pub(super) fn scope(claim: &Claim, around: &Surroundings) -> Value {
    let vars: Map<String, Value> = claim
        .flow
        .vars
        .iter()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let mut scope = json!({
        "params": around.facts.params,
        "vars": vars,
        "tasks": outputs(claim, around),
        "run": {
            "id": claim.run,
            "flow": claim.flow.name,
            "version": around.facts.version,
            "trigger": around.facts.trigger,
            "scheduled_for": around.facts.scheduled_for,
            "time": run_time(around),
        },
    });
    if let Some(item) = &around.item {
        scope["item"] = item.clone();
    }
    scope
}

/// The instant a run stands for.
pub(super) fn run_time(around: &Surroundings) -> Timestamp {
    around.facts.scheduled_for.unwrap_or(around.facts.created_at)
}

fn outputs(claim: &Claim, around: &Surroundings) -> Map<String, Value> {
    let mut tasks: Map<String, Value> = Map::new();
    let task = claim.task();
    if task.needs.len() > around.outputs.len() {
        for reference in task.references() {
            absent(&mut tasks, &reference);
        }
    }
    tasks.extend(around.outputs.iter().map(|(k, v)| (k.clone(), v.clone())));
    tasks
}

/// Null where a reference leads to, in objects on the way there.
fn absent(tasks: &mut Map<String, Value>, reference: &Reference) {
    if reference.key(0) != Some("tasks") || reference.path.len() < 3 {
        return;
    }
    let steps = reference.path[1..].iter().map_while(|step| match step {
        Step::Key(key) => Some(key),
        Step::Index(_) => None,
    });
    let steps: Vec<&String> = steps.collect();
    let Some((last, keys)) = steps.split_last() else {
        return;
    };
    let mut place = tasks;
    for key in keys {
        let next = place
            .entry((*key).clone())
            .or_insert_with(|| Value::Object(Map::new()));
        // A shorter reference ends here.
        let Value::Object(next) = next else { return };
        place = next;
    }
    place.insert((*last).clone(), Value::Null);
}
