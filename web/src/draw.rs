//! Drawings: geometry as pure functions, and the SVG that shows it.
//!
//! Texts keep their size on every screen: bars and charts place things in percent of their width, graphs come in two directions.

pub mod bar;
pub mod change;
pub mod graph;
pub mod history;
pub mod layout;
pub mod line;
pub mod reign;
pub mod span;
