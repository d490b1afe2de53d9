//! The OpenAPI document, made from the table of routes.

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::Body;
use crate::route::{self, Access, Route};

pub async fn document() -> Body<Value> {
    Body(make())
}

/// Pages and assets are for people; the document describes what programs use.
pub fn make() -> Value {
    let mut paths = Map::new();
    for entry in route::all().iter().filter(|entry| entry.is_api()) {
        let method = entry.method.as_str().to_lowercase();
        let path = paths.entry(entry.path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(method, operation(entry));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Flows, runs, gates and approvals. Lists are `{items, next}`; `next` is the `cursor` of the page after. Errors are RFC 9457 problem documents.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "tidegate"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "schemas": schemas(),
        },
    })
}

fn operation(entry: &Route) -> Value {
    let mut responses = Map::new();
    let common: &[u16] = match entry.access {
        Access::Anyone => &[],
        Access::Role(_) => &[401, 403],
    };
    for status in entry.answers.iter().chain(common) {
        responses.insert(status.to_string(), response(*status));
    }
    let mut operation = json!({
        "summary": entry.summary,
        "parameters": parameters(entry),
        "responses": responses,
    });
    if let Access::Role(role) = entry.access {
        operation["security"] = json!([{"session": []}, {"bearer": []}]);
        operation["x-role"] = json!(role);
    }
    if let Some(body) = body(entry) {
        operation["requestBody"] = json!({"content": {"application/json": {"schema": body}}});
    }
    operation
}

fn response(status: u16) -> Value {
    let words = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let mut response = json!({"description": words.unwrap_or("")});
    if status >= 400 {
        let schema = json!({"$ref": "#/components/schemas/Problem"});
        response["content"] = json!({"application/problem+json": {"schema": schema}});
    }
    response
}

fn parameters(entry: &Route) -> Vec<Value> {
    let parts = entry
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str, place: &str, required: bool| json!({"name": name, "in": place, "required": required, "schema": {"type": "string"}});
    let mut all: Vec<Value> = parts.map(|name| parameter(name, "path", true)).collect();
    let query: &[&str] = match entry.path {
        "/api/v1/runs" => &["flow", "state", "since", "cursor", "limit"],
        "/api/v1/approvals" => &["state", "cursor", "limit"],
        "/api/v1/ledger" => &["cursor", "limit"],
        "/api/v1/freezes" => &["all"],
        "/api/v1/runs/{id}/events" => &["after"],
        "/api/v1/runs/{id}/tasks/{task}/items" => &["cursor", "limit"],
        "/api/v1/runs/{id}/logs" => &["task", "cursor"],
        _ => &[],
    };
    all.extend(query.iter().map(|name| parameter(name, "query", false)));
    let makes_a_run = entry.method == Method::POST
        && entry.answers.contains(&201)
        && (entry.path.contains("run") || entry.path.ends_with("/rollback"));
    if makes_a_run {
        all.push(parameter("Idempotency-Key", "header", false));
    }
    all
}

fn body(entry: &Route) -> Option<Value> {
    let name = match (entry.method.as_str(), entry.path) {
        ("POST", "/api/v1/flows/{flow}/runs") => "RunRequest",
        ("POST", "/api/v1/runs/{id}/retry") => "RetryRequest",
        ("POST", "/api/v1/models/{name}/aliases/{alias}/rollback") => "RollbackRequest",
        ("POST", "/api/v1/flows") => "Submission",
        ("POST", "/api/v1/tokens") => "TokenRequest",
        ("POST", "/api/v1/approvals/{id}/decision") => "Decision",
        ("POST", "/api/v1/runs/{id}/decline") => "Decline",
        ("POST", "/api/v1/pools/{name}") => "PoolSize",
        ("POST", "/api/v1/freezes") => "NewFreeze",
        ("POST", "/api/v1/flows/{flow}/backfill") => "Backfill",
        _ => return None,
    };
    Some(json!({"$ref": format!("#/components/schemas/{name}")}))
}

fn schemas() -> Value {
    let mut all = schemas_of_runs();
    for more in [schemas_of_decisions(), schemas_of_admins()] {
        if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
            all.extend(more);
        }
    }
    all
}

fn schemas_of_admins() -> Value {
    json!({
        "Submission": {
            "type": "object",
            "additionalProperties": false,
            "required": ["flows"],
            "properties": {
                "flows": {"type": "array", "minItems": 1, "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["path", "source"],
                    "properties": {
                        "path": {"type": "string"},
                        "source": {"type": "string"},
                        "files": {"type": "object", "additionalProperties": {"type": "string"}},
                    },
                }},
                "variables": {"type": "object", "additionalProperties": {"type": "string"}},
                "prune": {"type": "boolean", "default": false},
            },
        },
        "TokenRequest": {
            "type": "object",
            "additionalProperties": false,
            "required": ["name", "roles"],
            "properties": {
                "name": {"type": "string", "maxLength": 100},
                "service": {"type": ["string", "null"]},
                "roles": {"type": "array", "minItems": 1, "items": {"enum": ["viewer", "operator", "approver", "admin"]}},
                "expires": {"type": "string", "default": "90d"},
            },
        },
    })
}

fn schemas_of_runs() -> Value {
    json!({
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
            },
        },
        "RunRequest": {
            "type": "object",
            "additionalProperties": false,
            "properties": {"params": {"type": "object"}, "no_cache": {"type": "boolean", "default": false},
                "emergency": {"type": ["string", "null"], "description": "Why it goes before everything else"}},
        },
        "NewFreeze": {
            "type": "object",
            "additionalProperties": false,
            "required": ["until", "reason"],
            "properties": {
                "flow": {"type": ["string", "null"]},
                "from": {"type": "string", "format": "date-time"},
                "until": {"type": "string", "format": "date-time"},
                "reason": {"type": "string"},
            },
        },
        "Backfill": {
            "type": "object",
            "additionalProperties": false,
            "required": ["from", "to"],
            "properties": {
                "from": {"type": "string", "format": "date-time"},
                "to": {"type": "string", "format": "date-time"},
                "schedule": {"type": ["string", "null"]},
                "max_active": {"type": ["integer", "null"], "minimum": 1},
                "dry_run": {"type": "boolean", "default": false},
            },
        },
        "PoolSize": {
            "type": "object",
            "additionalProperties": false,
            "required": ["size"],
            "properties": {"size": {"type": "integer", "minimum": 0, "maximum": 10_000}},
        },
        "RetryRequest": {
            "type": "object",
            "additionalProperties": false,
            "properties": {"from": {"type": "string"}, "params": {"type": "object"}},
        },
    })
}

fn schemas_of_decisions() -> Value {
    json!({
        "RollbackRequest": {
            "type": "object",
            "additionalProperties": false,
            "required": ["from", "reason"],
            "properties": {
                "from": {"type": "integer", "description": "The version that the alias points to now"},
                "to": {"type": ["integer", "null"], "description": "The version to go back to; else the one before"},
                "reason": {"type": "string", "minLength": 1, "maxLength": 1000},
            },
        },
        "Decline": {
            "type": "object",
            "additionalProperties": false,
            "properties": {"comment": {"type": ["string", "null"], "description": "Why; kept in the ledger"}},
        },
        "Decision": {
            "type": "object",
            "additionalProperties": false,
            "required": ["decision", "evidence"],
            "properties": {
                "decision": {"enum": ["approve", "reject"]},
                "comment": {"type": ["string", "null"]},
                "evidence": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            },
        },
    })
}
