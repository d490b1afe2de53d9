//! `/tokens`: what one's programs sign in with; for administrators also those of services, and everybody's list.

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use tidegate_engine::command::{CommandError, Role, TokenRequest};
use tidegate_engine::view::Token;
use tidegate_engine::{clock, command, duration};
use uuid::Uuid;

use super::{Frame, html, see};
use crate::app::App;
use crate::guard::{Visitor, field, fields};
use crate::problem::Problem;
use crate::route::Route;
use crate::words::Moment;

pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/tokens", "Tokens", show),
        // Whose it may be and what it may do, the verb checks.
        Route::post("/tokens", "Makes a token and shows it once", create)
            .for_viewers()
            .answering(&[200, 403, 422]),
        Route::post("/tokens/{id}/revoke", "Ends a token at once", revoke)
            .for_viewers()
            .answering(&[303, 404]),
    ]
}

/// What came of the form.
#[derive(Debug, Default)]
pub struct Sent {
    /// The token just made: its name and itself.
    pub made: Option<(String, String)>,
    /// Why there is none.
    pub problem: Option<String>,
    /// The name that was typed.
    pub name: String,
}

/// The page.
#[derive(Template)]
#[template(path = "tokens.html")]
pub struct Tokens {
    frame: Frame,
    sent: Sent,
    tokens: Vec<TokenRow>,
    /// Grants that can be handed on.
    roles: Vec<&'static str>,
    /// May make those of services, and sees all.
    admin: bool,
}

struct TokenRow {
    id: Uuid,
    name: String,
    owner: String,
    roles: String,
    valid: bool,
    state: String,
    made: Moment,
    until: Moment,
    used: Option<Moment>,
}

impl Tokens {
    /// Draws it.
    pub fn new(tokens: &[Token], sent: Sent, (visitor, frame): (&Visitor, Frame)) -> Self {
        let row = |token: &Token| TokenRow {
            id: token.id,
            name: token.name.clone(),
            owner: token.owner.clone(),
            roles: token.roles.join(", "),
            valid: token.state == "valid",
            state: token.state.clone(),
            made: frame.moment(&token.created_at),
            until: frame.moment(&token.expires_at),
            used: token.used_at.as_ref().map(|at| frame.moment(at)),
        };
        let all = [Role::Viewer, Role::Operator, Role::Approver, Role::Admin];
        let held = all.iter().filter(|role| visitor.actor.has(**role));
        Self {
            tokens: tokens.iter().map(row).collect(),
            roles: held.map(|role| role.as_str()).collect(),
            admin: visitor.actor.has(Role::Admin),
            sent,
            frame,
        }
    }
}

async fn page(app: &App, visitor: &Visitor, (status, sent): (StatusCode, Sent)) -> Result<Response, Problem> {
    let now = clock::now();
    let tokens = command::tokens(&app.store, &visitor.actor, now).await?;
    let frame = Frame::load(app, visitor, "/tokens", now).await;
    Ok(html(status, &Tokens::new(&tokens, sent, (visitor, frame))))
}

async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response, Problem> {
    page(&app, &visitor, (StatusCode::OK, Sent::default())).await
}

async fn create(State(app): State<App>, visitor: Visitor, body: Bytes) -> Result<Response, Problem> {
    let name = field(&body, "name").unwrap_or_default();
    let made = match request(&body) {
        Ok(request) => command::create_token(&app.store, &visitor.actor, request, clock::now()).await,
        Err(why) => Err(CommandError::Invalid { why }),
    };
    let done = match made {
        Ok((token, secret)) => (
            StatusCode::OK,
            Sent {
                made: Some((token.name, secret)),
                ..Sent::default()
            },
        ),
        Err(CommandError::Invalid { why }) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            Sent {
                problem: Some(why),
                name,
                ..Sent::default()
            },
        ),
        Err(error) => return Err(error.into()),
    };
    page(&app, &visitor, done).await
}

fn request(body: &[u8]) -> Result<TokenRequest, String> {
    let typed = |name: &str| field(body, name).filter(|text| !text.trim().is_empty());
    let expires = typed("expires").unwrap_or_else(|| "90d".to_owned());
    let roles = fields(body).into_iter().filter(|(name, _)| name == "role");
    Ok(TokenRequest {
        name: typed("name").unwrap_or_default(),
        service: typed("service"),
        roles: roles.filter_map(|(_, word)| Role::parse(&word)).collect(),
        expires: duration::parse(&expires).map_err(|error| error.to_string())?,
    })
}

async fn revoke(
    State(app): State<App>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let token = id.parse().map_err(|_| Problem::not_found("token", &id))?;
    command::revoke_token(&app.store, &visitor.actor, token, clock::now()).await?;
    Ok(see("/tokens"))
}
