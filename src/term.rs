//! What the other side of standard output and error is, and how text is laid out for it.

use std::io::{self, IsTerminal, Write};

use crate::config::Environment;

/// Columns of a table that nobody looks at through a terminal.
const WIDTH: usize = 80;
/// Lines of a terminal that does not tell.
const HEIGHT: usize = 24;
/// The narrowest that a column which gives way becomes.
const NARROWEST: usize = 8;

/// Where output goes.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// Standard output is in colour.
    pub color: bool,
    /// Standard error is in colour.
    pub color_err: bool,
    /// Standard error is a terminal: progress may be drawn there.
    pub live: bool,
    /// Columns.
    pub width: usize,
    /// Columns of a table. What goes to a file or a program is not cut, unless `COLUMNS` says so.
    pub room: usize,
    /// Lines.
    pub height: usize,
}

impl Term {
    /// Looks at standard output and error, and at `NO_COLOR`.
    pub fn of(env: &Environment) -> Self {
        let plain = env.get("NO_COLOR").is_some() || env.get("TERM") == Some("dumb");
        let (out, err) = (io::stdout(), io::stderr());
        let size = rustix::termios::tcgetwinsize(&out).or_else(|_| rustix::termios::tcgetwinsize(&err));
        let (columns, lines) = size.map_or((0, 0), |size| {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        });
        let told = env.get("COLUMNS").and_then(|columns| columns.parse().ok());
        let width = if columns >= 40 { columns } else { WIDTH };
        Self {
            color: !plain && out.is_terminal(),
            color_err: !plain && err.is_terminal(),
            live: err.is_terminal() && env.get("TERM") != Some("dumb"),
            width,
            room: if out.is_terminal() {
                width
            } else {
                told.unwrap_or(usize::MAX)
            },
            height: if lines >= 5 { lines } else { HEIGHT },
        }
    }
}

/// A way to stand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As the rest.
    Plain,
    /// Less than the rest.
    Dim,
    /// More than the rest.
    Bold,
    /// It went well.
    Green,
    /// It did not.
    Red,
    /// It waits for somebody.
    Yellow,
    /// It moves.
    Blue,
}

/// The style of a state's word.
pub fn style_of(state: &str) -> Style {
    match state {
        "succeeded" | "approved" | "pass" => Style::Green,
        "failed" | "rejected" | "expired" | "fail" => Style::Red,
        "waiting" | "open" | "borderline" | "backoff" => Style::Yellow,
        "running" | "cancelling" => Style::Blue,
        _ => Style::Dim,
    }
}

/// Text in a style, where colour is wanted.
pub fn paint(text: &str, style: Style, color: bool) -> String {
    let code = match style {
        Style::Plain => return text.to_owned(),
        Style::Dim => "2",
        Style::Bold => "1",
        Style::Green => "32",
        Style::Red => "31",
        Style::Yellow => "33",
        Style::Blue => "34",
    };
    if color {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// One line of text as a terminal may show it: what tasks and people wrote must not steer it.
pub fn harmless(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.trim_end()
        .chars()
        .map(|c| if c == '\t' { c } else { plain(c) })
        .collect()
}

/// The beginning of a text, with `…` where something is left out.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Text broken between words into lines of at most `width` columns, without a line end.
pub fn wrap(text: &str, width: usize) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            wrapped.push('\n');
            column = 0;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}

/// Writes to standard output; `false` when nobody reads any more (`| head`).
pub fn say(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Writes to standard error.
pub fn complain(text: &str) {
    // There is nobody left to tell that it failed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A cell of a table.
#[derive(Debug, Clone)]
pub struct Cell(String, Style);

impl Cell {
    /// Text as it is.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(harmless(text.as_ref()), Style::Plain)
    }

    /// Text in a style.
    pub fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self(harmless(text.as_ref()), style)
    }

    /// A state with its reason, in the state's colour.
    pub fn state(state: &str, reason: Option<&str>) -> Self {
        let text = reason.map_or_else(|| state.to_owned(), |reason| format!("{state} ({reason})"));
        Self(harmless(&text), style_of(state))
    }

    /// Text, or a dash.
    pub fn maybe(text: Option<impl AsRef<str>>) -> Self {
        text.map_or_else(|| Self("-".to_owned(), Style::Dim), Self::new)
    }
}

/// Rows under headings; one column gives way when the table is wider than the terminal.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    elastic: usize,
    wraps: bool,
}

impl Table {
    /// An empty table. `elastic`: the column that is cut to make the table fit.
    pub fn new(headings: &[&'static str], elastic: usize) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
            elastic,
            wraps: false,
        }
    }

    /// Goes on in the next line where it would cut: for texts that stand nowhere else.
    #[must_use]
    pub fn wrapping(self) -> Self {
        Self { wraps: true, ..self }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table as text; `empty` when it has no rows.
    pub fn render(&self, term: &Term, empty: &str) -> String {
        if self.rows.is_empty() {
            return format!("{empty}\n");
        }
        let widths = self.widths(term.room);
        let headings: Vec<Cell> = self
            .headings
            .iter()
            .map(|h| Cell::styled(h, Style::Dim))
            .collect();
        std::iter::once(&headings)
            .chain(&self.rows)
            .flat_map(|cells| self.lines_of(cells, &widths))
            .map(|cells| line(&cells, &widths, term.color))
            .collect()
    }

    /// A row as one line, or as many as the column that gives way takes.
    fn lines_of(&self, cells: &[Cell], widths: &[usize]) -> Vec<Vec<Cell>> {
        let (Some(Cell(text, style)), Some(width)) = (cells.get(self.elastic), widths.get(self.elastic))
        else {
            return vec![cells.to_vec()];
        };
        if !self.wraps || text.chars().count() <= *width {
            return vec![cells.to_vec()];
        }
        let wrapped = wrap(text, *width);
        let rows = wrapped.lines().enumerate().map(|(nth, part)| {
            let mut row = match nth {
                0 => cells.to_vec(),
                _ => vec![Cell::new(""); cells.len()],
            };
            row[self.elastic] = Cell(part.to_owned(), *style);
            row
        });
        rows.collect()
    }

    fn widths(&self, room: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headings.iter().map(|h| h.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.0.chars().count());
            }
        }
        let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        if let Some(elastic) = widths.get_mut(self.elastic) {
            *elastic = elastic
                .saturating_sub(total.saturating_sub(room))
                .max(NARROWEST.min(*elastic));
        }
        widths
    }
}

fn line(cells: &[Cell], widths: &[usize], color: bool) -> String {
    let last = cells.len().saturating_sub(1);
    let mut line = String::new();
    for (column, (Cell(text, style), width)) in cells.iter().zip(widths).enumerate() {
        let text = cut(text, *width);
        let padding = if column == last {
            0
        } else {
            width - text.chars().count() + 2
        };
        line.push_str(&paint(&text, *style, color));
        line.extend(std::iter::repeat_n(' ', padding));
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Term = Term {
        color: false,
        color_err: false,
        live: false,
        width: 40,
        room: 40,
        height: 24,
    };

    #[test]
    fn a_table_aligns_and_fits() {
        let mut table = Table::new(&["RUN", "FLOW", "STATE"], 1);
        table.row(vec![
            Cell::new("0198c1a2"),
            Cell::new("a-flow-with-a-name-that-is-far-too-long"),
            Cell::state("waiting", Some("approval")),
        ]);
        table.row(vec![Cell::new("0198"), Cell::new("b"), Cell::new("queued")]);
        let shown = table.render(&PLAIN, "none");
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{shown}");
        let column = |line: &str, word: &str| line.find(word).map(|at| line[..at].chars().count());
        assert_eq!(column(lines[0], "STATE"), column(lines[1], "waiting"), "{shown}");
        assert_eq!(column(lines[0], "STATE"), column(lines[2], "queued"), "{shown}");
        assert!(lines[1].contains('…'), "{shown}");
        let piped = Term {
            room: usize::MAX,
            ..PLAIN
        };
        assert!(
            !table.render(&piped, "none").contains('…'),
            "a program gets all of it"
        );
    }

    #[test]
    fn a_text_that_stands_nowhere_else_goes_on_in_the_next_line() {
        let mut table = Table::new(&["NAME", "MEANS"], 1).wrapping();
        table.row(vec![
            Cell::new("until"),
            Cell::new("An instant at which it goes on, RFC 3339."),
        ]);
        let shown = table.render(&PLAIN, "none");
        assert_eq!(
            shown,
            "NAME   MEANS\nuntil  An instant at which it goes on,\n       RFC 3339.\n"
        );
    }

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\r\n"), "a [2Jb");
    }
}
