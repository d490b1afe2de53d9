//! `/models`: registered models and where their aliases point.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tidegate_engine::clock;
use tidegate_engine::view::Model;

use super::{Frame, html};
use crate::app::App;
use crate::guard::Visitor;
use crate::next::encode;
use crate::problem::Problem;
use crate::route::Route;
use crate::words::{Moment, count};

pub fn routes() -> Vec<Route> {
    vec![Route::get("/models", "Models", show)]
}

/// The page.
#[derive(Template)]
#[template(path = "models.html")]
pub struct Models {
    frame: Frame,
    models: Vec<Card>,
}

struct Card {
    name: String,
    path: String,
    aliases: Vec<AliasChip>,
    newest: Option<i64>,
    versions: String,
}

/// An alias and where it points.
pub struct AliasChip {
    /// `production`.
    pub alias: String,
    /// Version.
    pub version: i64,
    /// Since when.
    pub since: Option<Moment>,
}

/// The aliases of a model, production first.
pub fn chips(model: &Model, frame: &Frame) -> Vec<AliasChip> {
    let chip = |alias: &tidegate_engine::view::Alias| AliasChip {
        alias: alias.alias.clone(),
        version: alias.version,
        since: alias.moved_at.as_ref().map(|at| frame.moment(at)),
    };
    let mut chips: Vec<AliasChip> = model.aliases.iter().map(chip).collect();
    chips.sort_by_key(|chip| {
        (
            chip.alias != "production",
            chip.alias != "staging",
            chip.alias.clone(),
        )
    });
    chips
}

impl Models {
    /// Draws it.
    pub fn new(models: &[Model], frame: Frame) -> Self {
        let card = |model: &Model| Card {
            name: model.name.clone(),
            path: format!("/models/{}", encode(&model.name)),
            aliases: chips(model, &frame),
            newest: model.newest,
            versions: count(usize::try_from(model.versions).unwrap_or(0), "version"),
        };
        Self {
            models: models.iter().map(card).collect(),
            frame,
        }
    }
}

async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response, Problem> {
    let models = app.store.models().await?;
    let frame = Frame::load(&app, &visitor, "/models", clock::now()).await;
    Ok(html(StatusCode::OK, &Models::new(&models, frame)))
}
