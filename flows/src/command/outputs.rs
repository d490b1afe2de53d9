//! `output.json`: read once, after the program ended well, and held against what the flow file promises.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tidegate_engine::plugin::{Ctx, TaskError};

use super::context::Files;
use super::{Input, OutputType};
use tidegate_engine::mask::Mask;

const MAX: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    v: u32,
    #[serde(default)]
    outputs: Map<String, Value>,
    #[serde(default)]
    artifacts: Vec<Listed>,
    #[serde(default)]
    metrics: Vec<Metric>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    path: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Metric {
    k: String,
    v: f64,
    #[serde(default)]
    step: u64,
}

/// The promised outputs; artifacts and metrics are recorded on the way.
pub async fn collect(
    ctx: &Ctx,
    input: &Input,
    files: &Files,
    mask: &Mask,
) -> Result<Map<String, Value>, TaskError> {
    let document = read(&files.output).map_err(|why| wrong(mask, &why))?;
    check(&document.outputs, input).map_err(|why| wrong(mask, &why))?;
    if mask.finds(&Value::Object(document.outputs.clone()).to_string()) {
        return Err(TaskError::fail(
            "output.json holds the value of a secret; it was thrown away",
        ));
    }
    for listed in &document.artifacts {
        let path = inside(&ctx.folders.artifacts, &listed.path).map_err(|why| wrong(mask, &why))?;
        ctx.artifact(&listed.name, &path).await?;
    }
    for metric in &document.metrics {
        ctx.metric(&metric.k, metric.v, metric.step);
    }
    Ok(document.outputs)
}

fn wrong(mask: &Mask, why: &str) -> TaskError {
    TaskError::fail(mask.hide(&format!("the program exited with 0, but its output.json {why}")))
}

fn read(path: &Path) -> Result<Document, String> {
    let empty = Document {
        v: 1,
        outputs: Map::new(),
        artifacts: Vec::new(),
        metrics: Vec::new(),
    };
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        return Ok(empty);
    };
    if !meta.is_file() {
        return Err("is no plain file".to_owned());
    }
    if meta.len() > MAX {
        return Err(format!(
            "has {} bytes; at most {MAX} are read. Large things are artifacts",
            meta.len()
        ));
    }
    let text = std::fs::read(path).map_err(|e| format!("can't be read: {e}"))?;
    let value: Strict = serde_json::from_slice(&text).map_err(|e| format!("is not valid JSON: {e}"))?;
    let document: Document =
        serde_json::from_value(value.0).map_err(|e| format!("has another shape: {e}"))?;
    if document.v == 1 {
        Ok(document)
    } else {
        Err(format!("has version {}; known is 1", document.v))
    }
}

fn check(outputs: &Map<String, Value>, input: &Input) -> Result<(), String> {
    for (name, kind) in &input.outputs {
        let value = outputs
            .get(name)
            .ok_or_else(|| format!("lacks the promised output `{name}`"))?;
        if !fits(*kind, value) {
            return Err(format!("gives `{name}` = {value}; promised is {}", kind.json()));
        }
    }
    match outputs.keys().find(|name| !input.outputs.contains_key(*name)) {
        Some(name) => Err(format!("gives `{name}`, which `with.outputs` doesn't name")),
        None => Ok(()),
    }
}

fn fits(kind: OutputType, value: &Value) -> bool {
    match kind {
        OutputType::String => value.is_string(),
        OutputType::Integer => value.is_i64() || value.is_u64(),
        OutputType::Number => value.is_number(),
        OutputType::Boolean => value.is_boolean(),
        OutputType::List => value.is_array(),
        OutputType::Object => value.is_object(),
    }
}

/// A file below the artifacts' folder, named relative to it (or with `artifacts/` before it) or absolutely.
fn inside(folder: &Path, path: &Path) -> Result<PathBuf, String> {
    let joined = folder.join(path.strip_prefix("artifacts").unwrap_or(path));
    let found = joined
        .canonicalize()
        .map_err(|e| format!("lists `{}`: {e}", path.display()))?;
    let root = folder
        .canonicalize()
        .map_err(|e| format!("can't be followed to {}: {e}", folder.display()))?;
    if found.starts_with(&root) && found.is_file() {
        return Ok(found);
    }
    Err(format!(
        "lists `{}`, which is no file in TIDEGATE_ARTIFACTS",
        path.display()
    ))
}

/// JSON in which no key stands twice: which of two would count is nobody's guess to make.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key `{key}` stands there twice"
                )));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
