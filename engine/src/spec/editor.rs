//! The JSON Schema of a flow file, for editors.

use serde_json::{Map, Value, json};

use super::raw::{ENDS, EXECUTOR, MISSED, OVERLAPS, PARAM_TYPES, RUN_IFS, SENDERS, TRIGGERS};
use crate::graph::{MAX_ITEMS, MOST_URGENT, Moment};
use crate::plugin::Registry;

/// JSON Schema (2020-12) of a flow file with the plugins of `registry`. An editor's help, not the check: where a value is
/// expected it also lets a text with `{{ … }}` pass.
pub fn json_schema(registry: &Registry) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tidegate flow",
        "type": "object",
        "required": ["flow", "tasks"],
        "additionalProperties": false,
        "properties": {
            "flow": flow(),
            "schedule": {"type": "array", "items": schedule()},
            "notify": {"type": "array", "items": notify()},
            "trigger": {"type": "array", "items": trigger()},
            "params": {"type": "object", "additionalProperties": param()},
            "vars": {"type": "object", "description": "Constants; \"${TIDEGATE_VAR_X}\" is read when the flow is applied"},
            "tasks": {"type": "object", "minProperties": 1, "additionalProperties": task(registry)},
        },
    })
}

fn table(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
}

fn text(about: &str) -> Value {
    json!({"type": "string", "description": about})
}

fn duration(about: &str) -> Value {
    json!({"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$", "description": about})
}

fn texts(about: &str) -> Value {
    json!({"type": "array", "items": {"type": "string"}, "description": about})
}

fn flow() -> Value {
    table(
        &["name"],
        json!({
            "name": text("Equals the file's stem"),
            "description": text("One line for people"),
            "owner": text("Team or person answerable for it"),
            "tags": texts("Free labels"),
            "timeout": duration("Bound on the whole run"),
            "expected": duration("A run that takes longer is overdue; nothing is stopped"),
            "overlap": {"enum": OVERLAPS, "default": "skip", "description": "What a tick does at max_active"},
            "max_active": {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 1},
            "priority": priority("Of its tasks that have none of their own"),
        }),
    )
}

fn priority(about: &str) -> Value {
    let about = format!("{about}; a point is worth a minute of waiting");
    json!({"type": "integer", "minimum": -MOST_URGENT, "maximum": MOST_URGENT, "description": about})
}

fn schedule() -> Value {
    table(
        &["cron"],
        json!({
            "name": text("Stable identity of the schedule; default \"default\""),
            "cron": text("Five fields, Unix"),
            "timezone": text("IANA name; default \"UTC\""),
            "dom_dow": {"enum": ["or", "and"], "description": "How day of month and day of week combine"},
            "missed": {"enum": MISSED, "default": "latest"},
            "missed_window": duration("Older ticks are never made up for"),
            "params": {"type": "object", "description": "Params of the runs it makes"},
        }),
    )
}

fn notify() -> Value {
    let moments = Moment::ALL.map(Moment::as_str);
    table(
        &["on", "to"],
        json!({
            "on": {"type": "array", "items": {"enum": moments}, "description": "What of a run is told"},
            "to": text("A channel of tidegate.toml"),
        }),
    )
}

fn trigger() -> Value {
    let needs = |on: &str, key: &str| json!({"if": {"properties": {"on": {"const": on}}}, "then": {"required": [key]}});
    let mut trigger = table(
        &["on"],
        json!({
            "on": {"enum": TRIGGERS, "description": "What makes a run"},
            "flow": text("The flow whose runs are followed"),
            "states": {"type": "array", "items": {"enum": ENDS}, "default": ["succeeded"]},
            "secret": text("Name of the secret that the webhook's messages are signed with"),
            "sender": {"enum": SENDERS, "default": "tidegate", "description": "Whose way of signing they follow"},
            "when": text("An expression over `body`, without braces; a message for which it is false makes no run"),
            "params": {"type": "object", "description": "Params of the runs; texts may name `body`"},
        }),
    );
    trigger["allOf"] = json!([needs("flow", "flow"), needs("webhook", "secret")]);
    trigger
}

fn param() -> Value {
    table(
        &["type"],
        json!({
            "type": {"enum": PARAM_TYPES},
            "default": {"description": "Without one the param must be given"},
            "description": text("One line for people"),
            "min": {"type": "number"},
            "max": {"type": "number"},
            "values": texts("What an enum may be"),
        }),
    )
}

fn task(registry: &Registry) -> Value {
    let names: Vec<&str> = registry.iter().map(|plugin| plugin.descriptor().name).collect();
    let inputs = registry.iter().map(|plugin| {
        let about = plugin.descriptor();
        let with = json!({"properties": {"with": loosen(&about.input)}});
        json!({"if": {"properties": {"uses": {"const": about.name}}}, "then": with})
    });
    let mut task = table(
        &["uses"],
        json!({
            "uses": {"enum": names, "description": "Plugin that it runs"},
            "description": text("One line for people"),
            "with": {"type": "object", "description": "Input of the plugin"},
            "needs": texts("Tasks that must end before it; references imply theirs"),
            "when": text("An expression, without braces; false: the task is skipped"),
            "for_each": {"type": ["array", "string"],
                         "description": "The list whose items it runs for, one task run each: literal, or a text that yields one"},
            "max_parallel": {"type": "integer", "minimum": 1, "maximum": MAX_ITEMS, "description": "Items under way at once"},
            "run_if": {"enum": RUN_IFS, "default": "all_succeeded",
                       "description": "How its needs must have ended for it to run; else it is skipped"},
            "continue_on_failure": {"type": "boolean", "default": false,
                                    "description": "Its failure counts neither for what needs it nor for the run's end"},
            "retry": retry(),
            "timeout": duration("Bound on one attempt"),
            "gate": gate(),
            "env": {"type": "object", "additionalProperties": {"type": "string"}},
            "on_worker_lost": {"enum": ["retry", "fail"], "default": "retry"},
            "queue": text("Only workers that serve it run the task; default \"default\""),
            "priority": priority("Before whom it goes; default its flow's"),
            "pool": text("Pool of which it holds a slot while it runs"),
            "cache": table(&["ttl"], json!({"ttl": duration("How long what it made of the same inputs stands in")})),
            "files": texts("Files that lie in the attempt's folder"),
            "executor": {"enum": [EXECUTOR], "default": EXECUTOR, "description": "Where it runs: on workers"},
            "local": table(&[], json!({})),
        }),
    );
    task["allOf"] = inputs.collect();
    task
}

fn retry() -> Value {
    table(
        &[],
        json!({
            "attempts": {"type": "integer", "minimum": 1, "maximum": 1000, "description": "The first included"},
            "delay": duration("Pause before the second attempt"),
            "backoff": {"type": "number", "minimum": 1, "maximum": 100},
            "max_delay": duration("No pause is longer"),
            "jitter": {"type": "number", "minimum": 0, "maximum": 1},
        }),
    )
}

fn gate() -> Value {
    let percentage = json!({"type": "string", "pattern": "^[0-9.]+ ?%$"});
    let number = json!({"type": "number"});
    let rule = table(
        &[],
        json!({
            "metric": text("\"{{ tasks.NAME.OUTPUT }}\""),
            "change": text("A relative change"),
            "against": text("The number that `metric` is compared with"),
            "above": number, "at_least": number, "below": number, "at_most": number,
            "max_drop": percentage, "max_rise": percentage,
            "borderline": {"type": ["number", "string"], "description": "Within this of the bound a person decides"},
            "use": {"enum": ["value", "interval"]},
            "without_baseline": {"enum": ["pass", "ask", "fail"]},
        }),
    );
    let approval = table(
        &[],
        json!({
            "when": {"enum": ["always", "borderline"], "default": "always"},
            "by": {"type": "array", "items": {"type": "string", "pattern": "^(role|user):"}},
            "required": {"type": "integer", "minimum": 1, "maximum": 100},
            "allow_requester": {"type": "boolean", "default": false},
            "expires": duration("Default 48h"),
            "on_expire": {"enum": ["reject", "fail"], "default": "reject"},
            "remind": duration("Remind after this, again and again"),
            "message": text("Question to the approver"),
        }),
    );
    let properties = json!({
        "rule": {"type": "array", "items": rule}, "approval": approval, "evidence": texts("Tasks to show"),
    });
    table(&[], properties)
}

/// A schema whose every value may also be a text with `{{ … }}`.
fn loosen(schema: &Value) -> Value {
    let Value::Object(map) = schema else {
        return schema.clone();
    };
    let mut out = Map::new();
    for (key, value) in map {
        let (key, value) = match (key.as_str(), value) {
            ("$schema" | "title", _) => continue,
            ("properties", Value::Object(properties)) => (
                key.as_str(),
                properties
                    .iter()
                    .map(|(name, schema)| (name.clone(), or_template(schema)))
                    .collect(),
            ),
            ("items" | "additionalProperties", Value::Object(_)) => (key.as_str(), or_template(value)),
            // A text would match several alternatives at once.
            ("anyOf" | "oneOf", Value::Array(options)) => ("anyOf", options.iter().map(loosen).collect()),
            (key, value) => (key, value.clone()),
        };
        out.insert(key.to_owned(), value);
    }
    Value::Object(out)
}

fn or_template(schema: &Value) -> Value {
    let about = schema.get("description").cloned();
    let mut out = json!({"anyOf": [loosen(schema), {"type": "string", "pattern": "\\{\\{"}]});
    if let Some(about) = about {
        out["description"] = about;
    }
    out
}
