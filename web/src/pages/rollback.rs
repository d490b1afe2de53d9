//! `/models/{name}/aliases/{alias}/rollback`: where the alias can go back to, what the click will do, and the click.

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use tidegate_engine::clock;
use tidegate_engine::command::{self, CommandError, RollbackRequest, Way};
use tidegate_engine::rollback::{self, Past, Refusal, Reign};
use tidegate_engine::view::{Alias, AliasMove, Freeze, Model};
use uuid::Uuid;

use super::{Frame, html, model, see};
use crate::app::App;
use crate::guard::{Visitor, field};
use crate::next::encode;
use crate::problem::Problem;
use crate::route::Route;
use crate::words::Moment;

/// Versions that are offered at once; older ones are folded.
const OFFERED: usize = 5;

pub fn routes() -> Vec<Route> {
    const PATH: &str = "/models/{name}/aliases/{alias}/rollback";
    vec![
        Route::get(PATH, "Where an alias can go back to", show).answering(&[200, 404]),
        Route::post(PATH, "Moves an alias back", roll_back)
            .for_viewers()
            .answering(&[303, 403, 404, 409, 422]),
    ]
}

/// Where an alias is moved back.
pub(super) fn path(model: &str, alias: &str) -> String {
    format!("/models/{}/aliases/{}/rollback", encode(model), encode(alias))
}

/// What the page is drawn from.
#[derive(Debug)]
pub struct Facts {
    /// The model.
    pub model: Model,
    /// The alias, and where it points.
    pub alias: Alias,
    /// The moves of the model's aliases, newest first.
    pub moves: Vec<AliasMove>,
    /// The window that holds promotions back now.
    pub freeze: Option<Freeze>,
}

/// What was tried just now, and did not come about.
#[derive(Debug, Default)]
pub struct Tried {
    /// Why not.
    pub notice: Option<String>,
    /// The run that was faster.
    pub run: Option<Uuid>,
    /// The version that was chosen.
    pub to: Option<i64>,
    /// The reason that was written.
    pub reason: String,
}

/// The page.
#[derive(Template)]
#[template(path = "rollback.html")]
pub struct RollbackPage {
    frame: Frame,
    model: String,
    model_path: String,
    path: String,
    alias: String,
    version: i64,
    since: Option<Moment>,
    by: Option<Basis>,
    offered: Vec<Choice>,
    older: Vec<Choice>,
    freeze: Option<String>,
    tried: Tried,
    key: String,
}

/// A version to go back to.
struct Choice {
    version: i64,
    from: Moment,
    until: Moment,
    by: Basis,
    is_target: bool,
    chosen: bool,
}

/// On what a move rests.
struct Basis {
    actor: String,
    approval: Option<Uuid>,
    evidence: String,
    rollback: Option<String>,
}

impl RollbackPage {
    /// Draws it.
    pub fn new(facts: &Facts, tried: Tried, frame: Frame) -> Self {
        let Facts { model, alias, .. } = facts;
        let past = Past::of(&facts.moves, &alias.alias);
        let target = past.target();
        let earlier = past.earlier();
        let wanted = tried
            .to
            .filter(|to| earlier.iter().any(|reign| reign.moved.version == *to));
        let mut offered: Vec<Choice> = earlier
            .iter()
            .map(|reign| Choice::new(reign, (target, wanted.or(target)), &frame))
            .collect();
        // What is chosen stands where it is seen.
        offered.sort_by_key(|choice| (!choice.is_target, !choice.chosen));
        let older = offered.split_off(offered.len().min(OFFERED));
        let newest = facts.moves.iter().find(|moved| moved.alias == alias.alias);
        Self {
            model: model.name.clone(),
            model_path: format!("/models/{}", encode(&model.name)),
            path: path(&model.name, &alias.alias),
            alias: alias.alias.clone(),
            version: alias.version,
            since: alias.moved_at.as_ref().map(|at| frame.moment(at)),
            by: newest.map(Basis::new),
            offered,
            older,
            freeze: facts.freeze.as_ref().map(Freeze::sentence),
            tried,
            key: clock::new_id().to_string(),
            frame,
        }
    }
}

impl Choice {
    fn new(reign: &Reign<'_>, (target, chosen): (Option<i64>, Option<i64>), frame: &Frame) -> Self {
        let version = reign.moved.version;
        Self {
            version,
            from: frame.moment(&reign.moved.at),
            until: frame.moment(&reign.until),
            by: Basis::new(reign.approved.unwrap_or(reign.moved)),
            is_target: target == Some(version),
            chosen: chosen == Some(version),
        }
    }
}

impl Basis {
    fn new(moved: &AliasMove) -> Self {
        Self {
            actor: moved.actor.clone(),
            approval: moved.approval,
            evidence: moved.evidence.clone().unwrap_or_default(),
            rollback: moved.rollback.clone(),
        }
    }
}

async fn load(app: &App, (model, alias): (&str, &str)) -> Result<Facts, Problem> {
    let model = model::load(app, model).await?;
    let found = model.aliases.iter().find(|known| known.alias == alias);
    let alias = found.cloned().ok_or_else(|| Problem::not_found("alias", alias))?;
    Ok(Facts {
        moves: app.store.alias_moves(&model.name).await?,
        freeze: app.store.freeze_over(rollback::FLOW, false).await?,
        model,
        alias,
    })
}

async fn draw(
    app: &App,
    (at, visitor): ((&str, &str), &Visitor),
    (status, tried): (StatusCode, Tried),
    now: Timestamp,
) -> Result<Response, Problem> {
    let facts = load(app, at).await?;
    let frame = Frame::load(app, visitor, "/models", now).await;
    Ok(html(status, &RollbackPage::new(&facts, tried, frame)))
}

async fn show(
    State(app): State<App>,
    visitor: Visitor,
    Path((model, alias)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let asked = (StatusCode::OK, Tried::default());
    draw(&app, ((&model, &alias), &visitor), asked, clock::now()).await
}

/// After a refusal the page is shown anew, with why, as things are now, and with the reason that was written.
async fn roll_back(
    State(app): State<App>,
    visitor: Visitor,
    Path((model, alias)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Problem> {
    let (now, at) = (clock::now(), (model.as_str(), alias.as_str()));
    let number = |name: &str| field(&body, name).and_then(|text| text.parse::<i64>().ok());
    let unread = || Problem::invalid("the form is not one of ours: load the page again");
    let request = RollbackRequest {
        from: number("from").ok_or_else(unread)?,
        to: Some(number("to").ok_or_else(unread)?),
        reason: field(&body, "reason").unwrap_or_default(),
    };
    let (to, reason) = (request.to, request.reason.clone());
    // The form's own key: a second click on it is the same request.
    let key = field(&body, "key");
    let way = Way {
        registry: &app.registry,
        trigger: "manual",
        key: key.as_deref(),
    };
    let done = command::roll_back(&app.store, &visitor.actor, (at, request, way), now).await;
    let error = match done {
        Ok(done) => return Ok(see(&format!("/runs/{}", done.run.summary.id))),
        Err(error) => error,
    };
    let run = match &error {
        CommandError::NotRolledBack(Refusal::UnderWay { run, .. }) => Some(*run),
        _ => None,
    };
    let problem = Problem::from(error);
    if !matches!(
        problem.status,
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY
    ) {
        return Err(problem);
    }
    let tried = Tried {
        notice: Some(problem.detail),
        run,
        to,
        reason,
    };
    draw(&app, (at, &visitor), (problem.status, tried), now).await
}
