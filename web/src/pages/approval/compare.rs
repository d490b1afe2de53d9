//! Candidate against production: what an evaluation handed on, side by side.

use serde_json::{Map, Value};

use crate::draw::change::{self, Change};
use crate::pages::readable;
use crate::words::{Drawn, percent};

/// A table of metrics: the candidate's value, production's, and the change.
pub struct Comparison {
    /// The task that compared.
    pub task: String,
    /// `ranking_model v6`; none where there was nothing to compare with.
    pub baseline: Option<String>,
    /// The protocol by which the values were measured, where it has a name.
    pub protocol: Option<&'static str>,
    /// The metrics.
    pub rows: Vec<Compared>,
}

impl Comparison {
    /// Whether a column of production's own values says something.
    pub fn has_production(&self) -> bool {
        self.rows.iter().any(|row| row.production.is_some())
    }
}

/// Changes are measured in time order; the candidate's value by the same protocol stands beside them.
const IN_TIME: &str = "temporal_full";

/// A metric.
pub struct Compared {
    /// Name.
    pub metric: String,
    /// The candidate's value with its interval.
    pub candidate: String,
    /// Production's on the same users, where it was handed on.
    pub production: Option<String>,
    /// The change in words: `+2.4 % [+0.3 %, +4.6 %]`, or why there is none.
    pub change: String,
    /// `good`, `bad` or `calm`.
    pub tone: &'static str,
    /// The change on the scale of all of them.
    pub drawn: Drawn,
}

/// The first task whose outputs hold metrics and their changes.
pub fn find(outputs: &Map<String, Value>) -> Option<Comparison> {
    outputs.iter().find_map(|(task, output)| {
        let changes = output.get("change")?.as_object()?;
        let metrics = output.get("metrics")?.as_object()?;
        Some(Comparison {
            task: task.clone(),
            baseline: output.get("baseline").and_then(baseline),
            protocol: metrics.contains_key(IN_TIME).then_some(IN_TIME),
            rows: rows(metrics, changes, output.pointer("/baseline/metrics")),
        })
    })
}

fn baseline(value: &Value) -> Option<String> {
    let model = value.get("model")?.as_str()?;
    Some(format!("{model} v{}", value.get("version")?))
}

fn rows(
    metrics: &Map<String, Value>,
    changes: &Map<String, Value>,
    production: Option<&Value>,
) -> Vec<Compared> {
    let numbers: Vec<Change> = changes.values().filter_map(number).collect();
    let reach = change::reach(&numbers);
    let in_time = metrics.get(IN_TIME).and_then(Value::as_object);
    let row = |(metric, change): (&String, &Value)| {
        let candidate = in_time
            .unwrap_or(metrics)
            .get(metric)
            .or_else(|| metrics.get(metric));
        let number = number(change);
        Compared {
            metric: metric.clone(),
            candidate: candidate.map_or_else(|| "–".to_owned(), |value| tied(&readable::text(value).0)),
            production: production
                .and_then(|values| values.get(metric))
                .map(|value| tied(&readable::text(value).0)),
            change: number.map_or_else(|| readable::text(change).0, |number| tied(&words(number))),
            tone: number.map_or("calm", |change| change.tone()),
            drawn: number.map_or_else(Drawn::default, |number| change::draw(number, reach)),
        }
    };
    changes.iter().map(row).collect()
}

fn number(value: &Value) -> Option<Change> {
    let finite = |value: Option<&Value>| value?.as_f64().filter(|number| number.is_finite());
    match value {
        Value::Number(_) => Some(Change {
            value: finite(Some(value))?,
            interval: None,
        }),
        Value::Object(fields) => Some(Change {
            value: finite(fields.get("value"))?,
            interval: finite(fields.get("low")).zip(finite(fields.get("high"))),
        }),
        _ => None,
    }
}

/// A value and its interval, to be broken between the two and nowhere else.
fn tied(text: &str) -> String {
    text.replace(", ", ",\u{a0}").replace(" %", "\u{a0}%")
}

fn words(change: Change) -> String {
    let value = percent(change.value);
    match change.interval {
        Some((low, high)) => format!("{value} [{}, {}]", percent(low), percent(high)),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_candidate_stands_beside_its_change_by_the_same_protocol() {
        let output = json!({"evaluate": {
            "metrics": {
                "ndcg": {"value": 0.4, "low": 0.3, "high": 0.5},
                "temporal_full": {"ndcg": {"value": 0.2, "low": 0.1, "high": 0.3}},
            },
            "change": {"ndcg": {"value": 0.02, "low": 0.01, "high": 0.03}, "recall": {"absent": "no_baseline"}},
            "baseline": {"model": "ranking_model", "version": 6, "metrics": {"ndcg": {"value": 0.19, "low": 0.1, "high": 0.28}}},
        }});
        let found = find(output.as_object().unwrap()).unwrap();
        assert_eq!(found.baseline.as_deref(), Some("ranking_model v6"));
        assert_eq!(found.rows[0].candidate, "0.2 [0.1,\u{a0}0.3]");
        assert_eq!(found.rows[0].production.as_deref(), Some("0.19 [0.1,\u{a0}0.28]"));
        assert_eq!(found.rows[0].change, "+2\u{a0}% [+1\u{a0}%,\u{a0}+3\u{a0}%]");
        assert_eq!(found.rows[0].tone, "good");
        assert_eq!(
            (found.rows[1].candidate.as_str(), found.rows[1].change.as_str()),
            ("–", "no baseline yet")
        );
        assert!(find(json!({"pull": {"rows": 3}}).as_object().unwrap()).is_none());
    }
}
