//! DataFusion's errors for people: where in the SQL, what, and that line of it.

use datafusion::common::Location;
use datafusion::error::DataFusionError;

/// One text for an error: `line 2, column 8: …` and the line with a caret under the place, where one is known.
pub(super) fn explain(error: &DataFusionError, sql: &str) -> String {
    if let DataFusionError::ResourcesExhausted(message) = error.find_root() {
        return format!("the SQL needs more memory than `memory_mib` allows: {message}");
    }
    if let Some(diagnostic) = error.diagnostic() {
        let hints = diagnostic
            .notes
            .iter()
            .map(|note| &note.message)
            .chain(diagnostic.helps.iter().map(|h| &h.message));
        let message = hints.fold(diagnostic.message.clone(), |text, hint| format!("{text}; {hint}"));
        return match diagnostic.span {
            Some(span) => placed(span.start, &message, sql),
            None => message,
        };
    }
    let text = error.strip_backtrace();
    match parser_place(&text) {
        Some((message, place)) => placed(place, &message, sql),
        None => text,
    }
}

/// The parser writes its place into the text: `…, found: FORM at Line: 1, Column: 10`.
fn parser_place(text: &str) -> Option<(String, Location)> {
    let (message, place) = text.rsplit_once(" at Line: ")?;
    let (line, rest) = place.split_once(", Column: ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let place = Location {
        line: line.parse().ok()?,
        column: digits.parse().ok()?,
    };
    let message = message
        .rsplit_once("ParserError(\"")
        .map_or(message, |(_, message)| message);
    Some((message.to_owned(), place))
}

fn placed(at: Location, message: &str, sql: &str) -> String {
    let head = format!("line {}, column {} of the SQL: {message}", at.line, at.column);
    let line = (at.line as usize)
        .checked_sub(1)
        .and_then(|line| sql.lines().nth(line));
    match line {
        Some(line) => format!(
            "{head}\n  {line}\n  {}^",
            " ".repeat((at.column as usize).saturating_sub(1))
        ),
        None => head,
    }
}
