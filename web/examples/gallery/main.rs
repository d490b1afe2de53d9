//! Every page on made-up data, without a database: to look at, in all states, while one works on how they look.
//!
//! `scripts/cargo run -p tidegate-web --example gallery`, then open `http://127.0.0.1:8099/`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for those who work on the pages"
)]

mod shelf;
mod views;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tidegate_engine::command::{Actor, Role};
use tidegate_engine::view::Page;
use tidegate_web::pages::{
    self, Frame, admin, approval, approvals, error, flow, flows, ledger, model, models, overview, rollback,
    run, runs, schedules, sign_in, tokens, workers,
};
use tidegate_web::{Problem, Visitor};

/// Name of a page, and how it is made.
type Entry = (&'static str, fn() -> Response);

const PAGES: &[Entry] = &[
    ("overview", || {
        ok(&overview::Overview::new(
            &shelf::overview(),
            (&anna(), frame("/")),
        ))
    }),
    ("overview-empty", || {
        ok(&overview::Overview::new(
            &overview::Facts::default(),
            (&anna(), empty_frame("/")),
        ))
    }),
    ("runs", || {
        ok(&runs::Runs::new(
            &page(views::runs()),
            (runs::Which::default(), vec!["train-ranking-model".to_owned()]),
            frame("/runs"),
        ))
    }),
    ("run-waiting", || {
        ok(&run::RunPage::new(views::waiting_run(), frame("/runs")))
    }),
    ("run-failed", || {
        ok(&run::RunPage::new(views::failed_run(), frame("/runs")))
    }),
    ("run-wide", || {
        ok(&run::RunPage::new(views::wide_run(), frame("/runs")))
    }),
    ("approvals", || {
        ok(&approvals::Approvals::new(
            &page(views::approvals()),
            true,
            (&anna(), frame("/approvals")),
        ))
    }),
    ("approvals-empty", || {
        ok(&approvals::Approvals::new(
            &page(Vec::new()),
            false,
            (&anna(), empty_frame("/approvals")),
        ))
    }),
    ("approval", || {
        ok(&approval::ApprovalPage::new(
            &views::approval("open"),
            approval::Tried::default(),
            (&anna(), frame("/approvals")),
        ))
    }),
    ("approval-first", || {
        ok(&approval::ApprovalPage::new(
            &views::first_approval(),
            approval::Tried::default(),
            (&anna(), frame("/approvals")),
        ))
    }),
    ("approval-approved", || {
        ok(&approval::ApprovalPage::new(
            &views::approval("approved"),
            approval::Tried::default(),
            (&anna(), frame("/approvals")),
        ))
    }),
    ("approval-expired", || {
        ok(&approval::ApprovalPage::new(
            &views::approval("expired"),
            approval::Tried::default(),
            (&anna(), frame("/approvals")),
        ))
    }),
    ("approval-requester", || {
        let mut visitor = anna();
        visitor.actor.name = "system".to_owned();
        ok(&approval::ApprovalPage::new(
            &views::approval("open"),
            approval::Tried::default(),
            (&visitor, frame("/approvals")),
        ))
    }),
    ("flows", || {
        ok(&flows::Flows::new(
            &[shelf::flow_summary(), shelf::second_flow()],
            frame("/flows"),
        ))
    }),
    ("flow", || {
        ok(&flow::FlowPage::new(
            (&shelf::flow_summary(), &shelf::flow()),
            &flow::Sent::default(),
            frame("/flows"),
        ))
    }),
    ("flow-wrong", || {
        ok(&flow::FlowPage::new(
            (&shelf::flow_summary(), &shelf::flow()),
            &shelf::sent(),
            frame("/flows"),
        ))
    }),
    ("models", || {
        ok(&models::Models::new(&[shelf::model().model], frame("/models")))
    }),
    ("model", || {
        ok(&model::ModelPage::new(&shelf::model(), frame("/models")))
    }),
    ("rollback", || {
        ok(&rollback::RollbackPage::new(
            &shelf::rollback(false),
            rollback::Tried::default(),
            frame("/models"),
        ))
    }),
    ("rollback-late", || {
        let tried = rollback::Tried {
            notice: Some(
                "ranking_model@production points to v6 by now, not to v7; look again before you roll back"
                    .to_owned(),
            ),
            to: Some(2),
            reason: "answers take three times as long since noon".to_owned(),
            ..rollback::Tried::default()
        };
        ok(&rollback::RollbackPage::new(
            &shelf::rollback(true),
            tried,
            frame("/models"),
        ))
    }),
    ("schedules", || {
        ok(&schedules::Schedules::new(
            &shelf::schedules(),
            frame("/schedules"),
        ))
    }),
    ("workers", || {
        ok(&workers::Workers::new(&shelf::workers(), frame("/workers")))
    }),
    ("admin", || {
        let mut visitor = anna();
        visitor.actor.roles.insert(Role::Admin);
        ok(&admin::Admin::new(
            &shelf::admin(),
            Frame::of(&visitor, ("/admin", 2), views::now()),
        ))
    }),
    ("admin-empty", || {
        ok(&admin::Admin::new(
            &admin::Facts::default(),
            empty_frame("/admin"),
        ))
    }),
    ("tokens", || {
        ok(&tokens::Tokens::new(
            &shelf::tokens(),
            tokens::Sent::default(),
            (&anna(), frame("/tokens")),
        ))
    }),
    ("tokens-made", || {
        let mut visitor = anna();
        visitor.actor.roles.insert(Role::Admin);
        let sent = tokens::Sent {
            made: Some(("nightly retrain".to_owned(), format!("tg_{}", "Zk3xR9".repeat(8)))),
            ..tokens::Sent::default()
        };
        ok(&tokens::Tokens::new(
            &shelf::tokens(),
            sent,
            (&visitor, frame("/tokens")),
        ))
    }),
    ("ledger", || {
        ok(&ledger::Ledger::new(
            &page(shelf::ledger()),
            &shelf::report(),
            frame("/ledger"),
        ))
    }),
    ("sign-in", || {
        ok(&sign_in::SignIn::refused(Frame::nobody(views::now()), "anna"))
    }),
    ("error-404", || {
        ok(&error::ErrorPage::new(
            &Problem::not_found("run", "0199"),
            frame(""),
        ))
    }),
    ("error-503", || {
        ok(&error::ErrorPage::new(
            &Problem::unavailable("the database does not answer; it is tried again with every request"),
            frame(""),
        ))
    }),
];

fn ok(template: &impl askama::Template) -> Response {
    pages::html(StatusCode::OK, template)
}

fn page<T>(items: Vec<T>) -> Page<T> {
    Page { items, next: None }
}

fn anna() -> Visitor {
    Visitor {
        actor: Actor::person("anna", [Role::Operator, Role::Approver]),
        csrf: "made-up".to_owned(),
        token: String::new(),
    }
}

fn frame(here: &str) -> Frame {
    Frame::of(&anna(), (here, 2), views::now())
}

fn empty_frame(here: &str) -> Frame {
    Frame::of(&anna(), (here, 0), views::now())
}

async fn show(Path(name): Path<String>) -> Response {
    let found = PAGES.iter().find(|(known, _)| *known == name);
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |(_, make)| make())
}

async fn asset(Path(name): Path<String>) -> Response {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("assets")
        .join(&name);
    let kind = match name.rsplit('.').next() {
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        _ => "image/svg+xml",
    };
    ([(header::CONTENT_TYPE, kind)], std::fs::read(path).unwrap()).into_response()
}

async fn index() -> Response {
    let links = PAGES
        .iter()
        .map(|(name, _)| format!("<li><a href=\"/p/{name}\">{name}</a></li>"));
    axum::response::Html(links.collect::<String>()).into_response()
}

#[tokio::main]
async fn main() {
    let router = Router::new()
        .route("/", get(index))
        .route("/p/{name}", get(show))
        .route("/assets/{name}", get(asset));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8099").await.unwrap();
    println!("http://127.0.0.1:8099/");
    axum::serve(listener, router).await.unwrap();
}
