//! `/approvals`: the inbox.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tidegate_engine::clock;
use tidegate_engine::view::{Approval, Page};
use uuid::Uuid;

use super::shared::AskCard;
use super::{Frame, html};
use crate::api::Asked;
use crate::app::App;
use crate::guard::Visitor;
use crate::next::encode;
use crate::problem::Problem;
use crate::route::Route;

pub fn routes() -> Vec<Route> {
    vec![Route::get("/approvals", "Approvals", show)]
}

/// The page.
#[derive(Template)]
#[template(path = "approvals.html")]
pub struct Approvals {
    frame: Frame,
    mine: Vec<AskCard>,
    others: Vec<AskCard>,
    closed: Vec<AskCard>,
    all: bool,
    older: Option<String>,
}

impl Approvals {
    /// Draws it; `all` when closed ones were asked for, too.
    pub fn new(page: &Page<Approval>, all: bool, (visitor, frame): (&Visitor, Frame)) -> Self {
        let cards = page.items.iter().map(|approval| {
            let open = approval.state == "open";
            (open, AskCard::new(approval, &visitor.actor, &frame))
        });
        let (open, closed): (Vec<_>, Vec<_>) = cards.partition(|(open, _)| *open);
        let (mine, others): (Vec<_>, Vec<_>) =
            open.into_iter().map(|(_, card)| card).partition(|card| card.mine);
        let cursor = page.next.as_ref();
        Self {
            mine,
            others,
            closed: closed.into_iter().map(|(_, card)| card).collect(),
            all,
            older: cursor.map(|cursor| {
                format!(
                    "/approvals?state={}&cursor={}",
                    if all { "all" } else { "open" },
                    encode(cursor)
                )
            }),
            frame,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Which {
    state: Option<String>,
    cursor: Option<Uuid>,
}

async fn show(
    State(app): State<App>,
    visitor: Visitor,
    Asked(which): Asked<Which>,
) -> Result<Response, Problem> {
    let all = which.state.as_deref() == Some("all");
    let page = app.store.approvals(all, (which.cursor, 50)).await?;
    let frame = Frame::load(&app, &visitor, "/approvals", clock::now()).await;
    Ok(html(
        StatusCode::OK,
        &Approvals::new(&page, all, (&visitor, frame)),
    ))
}
