//! What is to be recorded, in the names and sizes that MLflow takes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use tidegate_engine::plugin::{Ctx, TaskError};

use super::Input;
use crate::mlflow::Tag;
use crate::mlflow::runs::{PARAM_BYTES, Param};
use crate::model;

const KEY_CHARS: usize = 250;
const TAG_BYTES: usize = 8000;
/// MLflow takes 100; the rest are ours.
const TAGS: usize = 80;

/// Numbers, settings and labels, ready to be sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Facts {
    /// Numbers by MLflow's name, in their order.
    pub metrics: Vec<(String, f64)>,
    /// Numbers whose name in MLflow was taken already.
    pub unnamed: Vec<String>,
    /// Settings.
    pub params: Vec<Param>,
    /// Labels of the user.
    pub tags: Vec<Tag>,
}

impl Facts {
    pub(super) fn of(ctx: &Ctx, input: &Input) -> Result<Self, TaskError> {
        ctx.checkpoint()?;
        if input.tags.len() > TAGS {
            return Err(TaskError::fail(format_args!(
                "{} tags; at most {TAGS} fit",
                input.tags.len()
            )));
        }
        let (metrics, unnamed) = metrics(&input.metrics);
        let params = match &input.params {
            Some(params) => params.clone(),
            None => hyperparameters(input)?,
        };
        Ok(Self {
            metrics,
            unnamed,
            params: self::params(&params),
            tags: tags(&input.tags),
        })
    }

    /// What our own registry shows with the version.
    pub(super) fn shown(&self, ctx: &Ctx, input: &Input) -> Value {
        let metrics: Map<String, Value> = self.metrics.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let flow = ctx.attempt.flow.as_str();
        json!({"metrics": metrics, "tags": input.tags, "kind": input.model.kind, "flow": flow})
    }
}

/// The settings of the model's card; none without a card.
fn hyperparameters(input: &Input) -> Result<Map<String, Value>, TaskError> {
    let folder = model::folder(&input.model.uri).map_err(|e| TaskError::fail_chain(&e))?;
    if !folder.join(model::CARD).exists() {
        return Ok(Map::new());
    }
    let card = model::card(&folder).map_err(|e| TaskError::fail_chain(&e))?;
    let mut params = card.hyperparameters.as_object().cloned().unwrap_or_default();
    params.insert("seed".to_owned(), json!(card.seed));
    Ok(params)
}

fn metrics(table: &Map<String, Value>) -> (Vec<(String, f64)>, Vec<String>) {
    let mut all = Vec::new();
    numbers("", table, &mut all);
    let mut taken = BTreeSet::new();
    let named = all
        .into_iter()
        .map(|(name, value)| (name.clone(), clean(&name), value));
    let (named, unnamed): (Vec<_>, Vec<_>) = named.partition(|(_, key, _)| taken.insert(key.clone()));
    let metrics = named.into_iter().map(|(_, key, value)| (key, value)).collect();
    (metrics, unnamed.into_iter().map(|(name, ..)| name).collect())
}

/// All numbers of nested tables. Texts, nulls and lists are no metrics; they stand in the stored document.
fn numbers(prefix: &str, table: &Map<String, Value>, found: &mut Vec<(String, f64)>) {
    for (name, value) in table {
        let name = format!("{prefix}{name}");
        match value {
            Value::Number(number) => found.extend(number.as_f64().map(|n| (name, n))),
            Value::Object(estimate) if estimate.get("value").is_some_and(Value::is_number) => {
                let (value, rest): (Map<_, _>, Map<_, _>) =
                    estimate.clone().into_iter().partition(|(key, _)| key == "value");
                found.extend(
                    value
                        .values()
                        .filter_map(Value::as_f64)
                        .map(|n| (name.clone(), n)),
                );
                numbers(&format!("{name}_"), &rest, found);
            }
            Value::Object(inner) => numbers(&format!("{name}/"), inner, found),
            _ => {}
        }
    }
}

fn params(table: &Map<String, Value>) -> Vec<Param> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), ToOwned::to_owned)
    };
    // MLflow refuses a name given twice with another value.
    let by_name: BTreeMap<String, String> = table
        .iter()
        .map(|(name, value)| (clean(name), head(&text(value), PARAM_BYTES).to_owned()))
        .collect();
    by_name
        .into_iter()
        .map(|(key, value)| Param { key, value })
        .collect()
}

fn tags(table: &BTreeMap<String, String>) -> Vec<Tag> {
    table
        .iter()
        .map(|(key, value)| Tag::new(clean(key), head(value, TAG_BYTES)))
        .collect()
}

/// A name as MLflow takes it: letters, digits, `_-. :/`, no empty or dotted path segments; `ndcg@10` is `ndcg_at_10`.
fn clean(name: &str) -> String {
    let name = name.replace('@', "_at_");
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-. :/".contains(c);
    let name: String = name
        .chars()
        .map(|c| if fits(c) { c } else { '_' })
        .take(KEY_CHARS)
        .collect();
    let segment = |s: &str| {
        if matches!(s, "" | "." | "..") {
            "_".to_owned()
        } else {
            s.to_owned()
        }
    };
    let mut cleaned = name.split('/').map(segment).collect::<Vec<_>>().join("/");
    cleaned.truncate(KEY_CHARS);
    cleaned
}

/// As much of a text as fits into so many bytes.
fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests fail by panicking"
    )]

    use super::*;

    fn table(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn nested_tables_and_intervals_become_flat_names_that_mlflow_takes() {
        let (found, unnamed) = metrics(&table(json!({
            "ndcg@10": {"value": 0.4, "low": 0.3, "high": 0.5, "n": 120},
            "temporal": {"recall@20": 0.2, "note": "text", "slices": {"new users": {"mrr": 1}}},
            "absent": {"absent": "no_baseline"},
            "none": null,
            "ndcg_at_10": 9.0,
        })));
        let expected = [
            ("ndcg_at_10", 0.4),
            ("ndcg_at_10_low", 0.3),
            ("ndcg_at_10_high", 0.5),
            ("ndcg_at_10_n", 120.0),
            ("temporal/recall_at_20", 0.2),
            ("temporal/slices/new users/mrr", 1.0),
        ];
        assert_eq!(found, expected.map(|(k, v)| (k.to_owned(), v)).to_vec());
        assert_eq!(unnamed, ["ndcg_at_10"]);
    }

    #[test]
    fn names_are_cleaned_and_values_cut_at_whole_characters() {
        assert_eq!(clean("p@5 größe//../x"), "p_at_5 gr__e/_/_/x");
        assert_eq!(clean(&"ü".repeat(400)).len(), 250);
        let long = params(&table(json!({"text": "ü".repeat(4000), "list": [1, 2]})));
        assert_eq!(
            long[0],
            Param {
                key: "list".into(),
                value: "[1,2]".into()
            }
        );
        assert_eq!(long[1].value.len(), 6000);
    }
}
