//! Pages and the JSON interface of Tidegate.
//!
//! [`serve`] accepts connections, [`router`] says who answers what. Reading goes through the read models of `tidegate_engine::store`,
//! writing through `tidegate_engine::command`; there is no SQL here and nothing is decided here.
//!
//! ```text
//! serve ─► headers ─► dress ─► guard (who, from where, with what right) ─► api::* | pages::* | health
//! ```
//! Every route stands in one table ([`route::all`]): the router, the OpenAPI document and the test of who may what are made from it.

mod api;
mod app;
mod assets;
mod cookie;
pub mod draw;
mod guard;
mod headers;
mod health;
mod next;
mod origin;
pub mod pages;
mod problem;
pub mod route;
mod serve;
pub mod words;

#[cfg(test)]
mod tests;

pub use app::{App, Config, Services, router};
pub use guard::Visitor;
pub use problem::Problem;
pub use serve::serve;
