//! The table of routes: what there is, who may, and what it answers.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::MethodFilter;
use axum::routing::{MethodRouter, on};
use tidegate_engine::command::Role;

use crate::app::App;
use crate::{api, assets, health, pages};

/// Bytes of a body where a route does not say otherwise.
const BODY_BYTES: usize = 256 * 1024;

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Also someone who did not sign in.
    Anyone,
    /// Someone with this grant. What a verb asks beyond it, the verb checks.
    Role(Role),
}

/// A method on a path.
pub struct Route {
    /// `GET` or `POST`.
    pub method: Method,
    /// `/api/v1/runs/{id}`.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// One line for the OpenAPI document.
    pub summary: &'static str,
    /// Statuses it answers with, beyond those that all share.
    pub answers: &'static [u16],
    /// Bytes of its body, at most; 413 beyond.
    pub bytes: usize,
    pub(crate) handler: MethodRouter<App>,
}

impl Route {
    /// Reads; for viewers.
    pub(crate) fn get<H, T>(path: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        Self {
            method: Method::GET,
            path,
            access: Access::Role(Role::Viewer),
            summary,
            answers: &[200],
            bytes: BODY_BYTES,
            handler: on(MethodFilter::GET, handler),
        }
    }

    /// Changes something; for operators.
    pub(crate) fn post<H, T>(path: &'static str, summary: &'static str, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        Self {
            method: Method::POST,
            access: Access::Role(Role::Operator),
            handler: on(MethodFilter::POST, handler),
            ..Self::get(path, summary, || async {})
        }
    }

    pub(crate) fn for_anyone(self) -> Self {
        Self {
            access: Access::Anyone,
            ..self
        }
    }

    pub(crate) fn for_viewers(self) -> Self {
        Self {
            access: Access::Role(Role::Viewer),
            ..self
        }
    }

    pub(crate) fn for_approvers(self) -> Self {
        Self {
            access: Access::Role(Role::Approver),
            ..self
        }
    }

    pub(crate) fn for_admins(self) -> Self {
        Self {
            access: Access::Role(Role::Admin),
            ..self
        }
    }

    pub(crate) fn taking(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    pub(crate) fn answering(self, answers: &'static [u16]) -> Self {
        Self { answers, ..self }
    }

    /// Programs talk to it: problems are JSON, and nobody is led to the sign-in page.
    pub fn is_api(&self) -> bool {
        is_api(self.path)
    }
}

/// Whether a path is for programs.
pub(crate) fn is_api(path: &str) -> bool {
    path.starts_with("/api/") || matches!(path, "/healthz" | "/readyz" | "/metrics")
}

/// All routes.
pub fn all() -> Vec<Route> {
    let mut all = health::routes();
    all.extend(assets::routes());
    all.extend(api::routes());
    all.extend(pages::routes());
    all
}
