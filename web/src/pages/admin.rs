//! `/admin`: who may what, what stands in the way of what, and what is known by name only. It changes little: most is done by verbs.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use tidegate_engine::view::{Freeze, Person, Pool, Secret, Token, Worker};
use tidegate_engine::{clock, command};
use uuid::Uuid;

use super::shared::short_id;
use super::{Frame, html, see};
use crate::app::App;
use crate::guard::Visitor;
use crate::problem::Problem;
use crate::route::Route;
use crate::words::Moment;

pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/admin", "People, tokens, pools, freezes, secrets", show).for_admins(),
        Route::post(
            "/admin/freezes/{id}/end",
            "Ends a freeze window before its time",
            end_freeze,
        )
        .for_admins()
        .answering(&[303, 404, 422]),
    ]
}

/// What the page is drawn from.
#[derive(Debug, Default)]
pub struct Facts {
    /// Who may sign in.
    pub people: Vec<Person>,
    /// What programs sign in with.
    pub tokens: Vec<Token>,
    /// Limits, and who holds them.
    pub pools: Vec<Pool>,
    /// Windows that are on or to come.
    pub freezes: Vec<Freeze>,
    /// Names of secrets.
    pub secrets: Vec<Secret>,
    /// Who runs tasks.
    pub workers: Vec<Worker>,
}

/// The page.
#[derive(Template)]
#[template(path = "admin.html")]
pub struct Admin {
    frame: Frame,
    people: Vec<PersonRow>,
    valid: usize,
    others: usize,
    pools: Vec<PoolRow>,
    freezes: Vec<FreezeRow>,
    secrets: Vec<SecretRow>,
    alive: usize,
    draining: usize,
    silent: usize,
}

struct PersonRow {
    name: String,
    roles: String,
    account: Option<String>,
    tokens: usize,
    since: Moment,
    disabled: Option<Moment>,
}

struct PoolRow {
    name: String,
    size: u32,
    held: usize,
    waiting: i64,
    holders: Vec<Holder>,
    by: String,
}

/// A task run that holds a slot.
struct Holder {
    run: Uuid,
    short: String,
    place: String,
    since: Moment,
}

struct FreezeRow {
    id: Uuid,
    of: String,
    active: bool,
    from: Moment,
    until: Moment,
    by: String,
    reason: String,
}

struct SecretRow {
    name: String,
    set: Moment,
    by: String,
}

impl Admin {
    /// Draws it.
    pub fn new(facts: &Facts, frame: Frame) -> Self {
        let valid = facts.tokens.iter().filter(|token| token.state == "valid").count();
        let here = facts.workers.iter().filter(|worker| worker.stopped_at.is_none());
        let alive = here.clone().filter(|worker| worker.alive).count();
        let draining = here
            .clone()
            .filter(|worker| worker.alive && worker.draining_at.is_some())
            .count();
        Self {
            people: facts
                .people
                .iter()
                .map(|person| PersonRow::new(person, &facts.tokens, &frame))
                .collect(),
            valid,
            others: facts.tokens.len() - valid,
            pools: facts
                .pools
                .iter()
                .map(|pool| PoolRow::new(pool, &frame))
                .collect(),
            freezes: facts
                .freezes
                .iter()
                .map(|freeze| FreezeRow::new(freeze, &frame))
                .collect(),
            secrets: facts
                .secrets
                .iter()
                .map(|secret| SecretRow {
                    name: secret.name.clone(),
                    set: frame.moment(&secret.updated_at),
                    by: secret.updated_by.clone(),
                })
                .collect(),
            silent: here.count() - alive,
            alive,
            draining,
            frame,
        }
    }
}

impl PersonRow {
    fn new(person: &Person, tokens: &[Token], frame: &Frame) -> Self {
        let own = tokens.iter().filter(|token| token.owner == person.name);
        Self {
            name: person.name.clone(),
            roles: person.roles.join(", "),
            account: person.os_user.clone(),
            tokens: own.filter(|token| token.state == "valid").count(),
            since: frame.moment(&person.created_at),
            disabled: person.disabled_at.as_ref().map(|at| frame.moment(at)),
        }
    }
}

impl PoolRow {
    fn new(pool: &Pool, frame: &Frame) -> Self {
        let holders = pool.holders.iter().map(|held| Holder {
            run: held.run,
            short: short_id(held.run),
            place: format!("{}/{}", held.flow, held.task),
            since: frame.moment(&held.since),
        });
        Self {
            name: pool.name.clone(),
            size: pool.size,
            held: pool.holders.len(),
            waiting: pool.waiting,
            holders: holders.collect(),
            by: pool.updated_by.clone(),
        }
    }
}

impl FreezeRow {
    fn new(freeze: &Freeze, frame: &Frame) -> Self {
        let of = freeze.flow.clone();
        Self {
            id: freeze.id,
            of: of.unwrap_or_else(|| "all flows".to_owned()),
            active: freeze.active,
            from: frame.moment(&freeze.from_at),
            until: frame.moment(&freeze.until_at),
            by: freeze.created_by.clone(),
            reason: freeze.reason.clone(),
        }
    }
}

async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response, Problem> {
    let (store, now) = (&app.store, clock::now());
    let facts = Facts {
        people: store.people().await?,
        tokens: command::tokens(store, &visitor.actor, now).await?,
        pools: store.pools().await?,
        freezes: store.freezes(false).await?,
        secrets: store.secrets().await?,
        workers: store.workers().await?,
    };
    let frame = Frame::load(&app, &visitor, "/admin", now).await;
    Ok(html(StatusCode::OK, &Admin::new(&facts, frame)))
}

async fn end_freeze(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let freeze = id.parse().map_err(|_| Problem::not_found("freeze", &id))?;
    command::end_freeze(&app.store, &visitor.actor, freeze, clock::now()).await?;
    Ok(see("/admin"))
}
