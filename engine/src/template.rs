//! `{{ … }}` in the texts of a flow file: only expressions, strict and fuelled, and a value is never rendered twice.
//!
//! [`parse`] splits a text and finds what its expressions refer to, for the check; [`render_value`] evaluates the expressions
//! of a whole JSON value, for the run. A text that is one expression and nothing else yields the native value, any other text.
//! Statements (`{%`), comments (`{#`), white-space control (`{{-`) and calls do not exist.

mod parts;
mod render;
mod scan;

pub use parts::{Expression, Parsed, Piece, Reference, Step, TemplateError};
pub use render::{RenderError, evaluate, render_text, render_value};
pub use scan::{has_expression, is_rendered, parse, parse_expression, references, secrets_in};
