//! Drawings: geometry as pure functions, and the SVG that shows it.
