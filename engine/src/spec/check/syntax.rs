//! What toml says, in our words.

use std::ops::Range;

use super::super::decode::Doc;
use super::super::diagnostic::{Lines, Problem};

/// Notes the first syntax error, or all duplicates when there is nothing else: after a syntax error the rest is guesswork.
pub(super) fn report(doc: Doc<'_>, errors: &[toml::de::Error]) {
    let is_duplicate = |error: &&toml::de::Error| error.message() == "duplicate key";
    match errors.iter().find(|error| !is_duplicate(error)) {
        Some(error) => {
            let span = widen(doc.text, error.span().unwrap_or(doc.text.len()..doc.text.len()));
            doc.report("toml-syntax", span, format!("not TOML: {}", error.message()));
        }
        None => duplicates(doc, errors),
    }
}

/// Below a table that stands twice all its keys stand twice; only the table is told.
fn duplicates(doc: Doc<'_>, errors: &[toml::de::Error]) {
    let mut twice: Option<Range<usize>> = None;
    for span in errors.iter().filter_map(toml::de::Error::span) {
        if twice.as_ref().is_some_and(|table| table.contains(&span.start)) {
            continue;
        }
        let line_start = doc.text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        if doc.text[line_start..].trim_start().starts_with('[') {
            let end = doc.text[span.end..]
                .find("\n[")
                .map_or(doc.text.len(), |at| span.end + at);
            twice = Some(span.start..end);
        }
        duplicate(doc, span);
    }
}

/// An empty place cannot be underlined: take the character there, or the last one of the file.
fn widen(text: &str, span: Range<usize>) -> Range<usize> {
    if span.start < span.end {
        return span;
    }
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let next = text[start..]
        .chars()
        .next()
        .filter(|c| *c != '\n')
        .map_or(0, char::len_utf8);
    start..start + next
}

fn duplicate(doc: Doc<'_>, span: Range<usize>) {
    let name = doc.text.get(span.clone()).unwrap_or_default();
    let line_start = doc.text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let line = doc.text[line_start..].lines().next().unwrap_or_default().trim();
    let header = line.split_once(']').map_or(line, |(head, _)| head);
    let is_header = line.starts_with('[');
    let (code, message) = if is_header
        && header.trim_start_matches('[').starts_with("tasks.")
        && header.matches('.').count() == 1
    {
        ("duplicate-task", format!("task `{name}` is defined twice"))
    } else if is_header {
        (
            "duplicate-key",
            format!("the table `{}]` is defined twice", header),
        )
    } else {
        ("duplicate-key", format!("the key `{name}` is given twice"))
    };
    let problem = Problem::new(code, span, message);
    let first = if is_header {
        first_header(doc.text, header, line_start)
    } else {
        None
    };
    doc.problems.add(match first {
        Some(at) => {
            let (line, _) = Lines::new(doc.text).position(at);
            problem.help(format!(
                "it is first defined on line {line}; rename one of the two"
            ))
        }
        None => problem.help("keep one of the two"),
    });
}

/// Where a line with this head stood before.
fn first_header(text: &str, header: &str, before: usize) -> Option<usize> {
    let mut at = 0;
    for line in text[..before].split_inclusive('\n') {
        if line
            .trim()
            .split_once(']')
            .is_some_and(|(head, _)| head == header)
        {
            return Some(at);
        }
        at += line.len();
    }
    None
}
