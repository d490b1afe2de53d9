//! `/models/{name}`: what was in production when, by whom, on what evidence; how the metrics went.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;
use tidegate_engine::clock;
use tidegate_engine::rollback::Past;
use tidegate_engine::view::{AliasMove, Model, ModelVersion};
use uuid::Uuid;

use super::models::{AliasChip, chips};
use super::shared::short_id;
use super::{Frame, html, rollback};
use crate::app::App;
use crate::draw::line;
use crate::draw::reign::{self, Reign};
use crate::draw::span::Window;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;
use crate::words::{Drawn, Moment, number, of};

pub fn routes() -> Vec<Route> {
    vec![Route::get("/models/{name}", "A model", show).answering(&[200, 404])]
}

/// Metrics that are drawn at most.
const CURVES: usize = 6;

/// What the page is drawn from.
#[derive(Debug)]
pub struct Facts {
    /// The model.
    pub model: Model,
    /// Its versions, newest first.
    pub versions: Vec<ModelVersion>,
    /// The moves of its aliases, newest first.
    pub moves: Vec<AliasMove>,
}

/// The page.
#[derive(Template)]
#[template(path = "model.html")]
pub struct ModelPage {
    frame: Frame,
    name: String,
    aliases: Vec<AliasHead>,
    lines: Vec<AliasLine>,
    curves: Vec<Curve>,
    versions: Vec<VersionRow>,
    moves: Vec<MoveRow>,
}

/// An alias, and the way back.
struct AliasHead {
    chip: AliasChip,
    back: Option<Back>,
}

/// Where an alias goes back to, and the page that does it.
struct Back {
    version: i64,
    path: String,
}

/// An alias over time.
struct AliasLine {
    alias: String,
    from: Moment,
    drawn: Drawn,
}

/// A metric over versions.
struct Curve {
    name: String,
    last: String,
    drawn: Drawn,
}

struct VersionRow {
    version: i64,
    aliases: Vec<String>,
    created: Moment,
    run: Option<(Uuid, String)>,
    source: String,
    sha256: Option<String>,
    external: Option<String>,
}

struct MoveRow {
    alias: String,
    before: Option<i64>,
    version: i64,
    at: Moment,
    actor: String,
    run: Option<(Uuid, String)>,
    approval: Option<Uuid>,
    evidence: Option<String>,
    rollback: Option<String>,
}

impl ModelPage {
    /// Draws it.
    pub fn new(facts: &Facts, frame: Frame) -> Self {
        Self {
            name: facts.model.name.clone(),
            aliases: chips(&facts.model, &frame)
                .into_iter()
                .map(|chip| AliasHead::new(chip, facts, &frame))
                .collect(),
            lines: lines(&facts.moves, &frame),
            curves: curves(&facts.versions),
            versions: facts
                .versions
                .iter()
                .map(|version| VersionRow::new(version, &frame))
                .collect(),
            moves: facts
                .moves
                .iter()
                .map(|moved| MoveRow::new(moved, &frame))
                .collect(),
            frame,
        }
    }
}

impl AliasHead {
    fn new(chip: AliasChip, facts: &Facts, frame: &Frame) -> Self {
        let target = Past::of(&facts.moves, &chip.alias).target();
        let back = target.filter(|_| frame.rolls_back).map(|version| Back {
            version,
            path: rollback::path(&facts.model.name, &chip.alias),
        });
        Self { chip, back }
    }
}

/// One line per alias, all on the scale of the whole history.
fn lines(moves: &[AliasMove], frame: &Frame) -> Vec<AliasLine> {
    let Some(first) = moves.iter().map(|moved| moved.at).min() else {
        return Vec::new();
    };
    let window = Window {
        from: first,
        to: frame.now,
    };
    let mut reigns: BTreeMap<&str, Vec<Reign>> = BTreeMap::new();
    for moved in moves.iter().rev() {
        let reign = Reign {
            version: moved.version,
            since: moved.at,
        };
        reigns.entry(&moved.alias).or_default().push(reign);
    }
    let line = |(alias, reigns): (&str, Vec<Reign>)| AliasLine {
        alias: alias.to_owned(),
        from: frame.moment(&first),
        drawn: reign::draw(&reigns, window),
    };
    reigns.into_iter().map(line).collect()
}

/// One chart per metric that versions were registered with.
fn curves(versions: &[ModelVersion]) -> Vec<Curve> {
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for version in versions.iter().rev() {
        for (name, value) in metrics(&version.facts) {
            series
                .entry(name)
                .or_default()
                .push((version.version as f64, value));
        }
    }
    let curve = |(name, points): (String, Vec<(f64, f64)>)| Curve {
        last: points
            .last()
            .map_or_else(String::new, |(_, value)| number(*value)),
        drawn: line::draw(&name, &points, true),
        name,
    };
    series.into_iter().take(CURVES).map(curve).collect()
}

/// The numbers among a version's metrics, plain or as `{value, low, high}`.
fn metrics(facts: &Value) -> Vec<(String, f64)> {
    let fields = facts.get("metrics").and_then(Value::as_object);
    let number = |value: &Value| match value {
        Value::Number(number) => of(number),
        Value::Object(fields) => fields.get("value").and_then(Value::as_f64),
        _ => None,
    };
    // An interval may lie beside its point, as two metrics of their own.
    let is_end = |name: &str| {
        let point = name.strip_suffix("_low").or_else(|| name.strip_suffix("_high"));
        point.is_some_and(|point| fields.is_some_and(|fields| fields.contains_key(point)))
    };
    let named = |(name, value): (&String, &Value)| {
        let value = number(value).filter(|_| !is_end(name))?;
        Some((name.clone(), value))
    };
    fields.into_iter().flatten().filter_map(named).collect()
}

impl VersionRow {
    fn new(version: &ModelVersion, frame: &Frame) -> Self {
        Self {
            version: version.version,
            aliases: version.aliases.clone(),
            created: frame.moment(&version.created_at),
            run: version.run.map(|id| (id, short_id(id))),
            source: version.source.clone(),
            sha256: version.sha256.clone(),
            external: version.external_run.clone(),
        }
    }
}

impl MoveRow {
    fn new(moved: &AliasMove, frame: &Frame) -> Self {
        Self {
            alias: moved.alias.clone(),
            before: moved.before,
            version: moved.version,
            at: frame.moment(&moved.at),
            actor: moved.actor.clone(),
            run: moved.run.map(|id| (id, short_id(id))),
            approval: moved.approval,
            evidence: moved.evidence.clone(),
            rollback: moved.rollback.clone(),
        }
    }
}

pub(super) async fn load(app: &App, name: &str) -> Result<Model, Problem> {
    let models = app.store.models().await?;
    let found = models.into_iter().find(|model| model.name == name);
    found.ok_or_else(|| Problem::not_found("model", name))
}

async fn show(
    State(app): State<App>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let facts = Facts {
        model: load(&app, &name).await?,
        versions: app.store.model_versions(&name).await?,
        moves: app.store.alias_moves(&name).await?,
    };
    let frame = Frame::load(&app, &visitor, "/models", clock::now()).await;
    Ok(html(StatusCode::OK, &ModelPage::new(&facts, frame)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metrics_are_plain_numbers_or_the_points_of_intervals() {
        let facts = json!({"metrics": {"a": 1.5, "b": {"value": 0.3, "low": 0.2, "high": 0.4}, "c": "text", "d": {"a": {}}, "a_low": 1.0, "a_high": 2.0}});
        assert_eq!(metrics(&facts), [("a".to_owned(), 1.5), ("b".to_owned(), 0.3)]);
        assert_eq!(metrics(&json!("none")), []);
    }
}
