//! Flow files: from text to a sealed [`Flow`](crate::graph::Flow), or to every problem at once.
//!
//! ```text
//! load (the only one that touches files) → SourceFile
//!   → toml's spanned tree → raw (decoded, every wrong key and type noted with its place)
//!   → checks, each on its own, none stopping at the first problem → graph, acyclic by construction
//! ```
//!
//! [`check`] answers a [`Checked`] flow or the [`Diagnostic`]s, sorted by place. After a TOML syntax error only that is known.

mod check;
mod decode;
mod diagnostic;
mod editor;
mod load;
mod order;
pub mod params;
mod raw;
mod render;
mod source;
mod suggest;
mod vars;
mod version;

pub use check::{Checked, check, check_all};
pub use diagnostic::Diagnostic;
pub use editor::json_schema;
pub use load::{Loaded, load};
pub use order::run_first;
pub use render::{render_github, render_text};
pub use source::{FileProblem, SourceFile};
pub use suggest::help as suggest;
pub(crate) use suggest::nearest;

#[cfg(test)]
mod tests;
