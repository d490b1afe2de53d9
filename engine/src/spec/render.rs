//! Diagnostics for people (text with the place underlined) and for GitHub.

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use super::diagnostic::{Diagnostic, Lines};

/// The diagnostics of one flow file as text, the offending text underlined, the help below. `text` is that of the file; where
/// it is empty, only file, line and column are named.
pub fn render_text(diagnostics: &[Diagnostic], text: &str, color: bool) -> String {
    let theme = if color {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_width(110)
        .with_context_lines(1);
    let lines = Lines::new(text);
    let mut out = String::new();
    for diagnostic in diagnostics {
        let report = Report::new(diagnostic, text, &lines);
        // Writing into a String does not fail.
        let _ = handler.render_report(&mut out, &report);
        out.push('\n');
    }
    out
}

/// The diagnostics as GitHub workflow commands, one line each.
pub fn render_github(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(github_line).collect()
}

fn github_line(d: &Diagnostic) -> String {
    let mut message = d.message.clone();
    if let Some(help) = &d.help {
        message.push_str("\nhelp: ");
        message.push_str(help);
    }
    // GitHub wants the last column itself, not the one behind it, and only on one line.
    let end = if d.end_line == d.line {
        d.end_column.saturating_sub(1).max(d.column)
    } else {
        d.column
    };
    format!(
        "::error file={},line={},endLine={},col={},endColumn={},title={}::{}\n",
        escape_property(&d.file),
        d.line,
        d.end_line,
        d.column,
        end,
        escape_property(&d.code),
        escape_data(&message),
    )
}

fn escape_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A diagnostic as miette wants it.
#[derive(Debug)]
struct Report<'d> {
    diagnostic: &'d Diagnostic,
    source: NamedSource<String>,
    label: Option<LabeledSpan>,
}

impl<'d> Report<'d> {
    fn new(diagnostic: &'d Diagnostic, text: &str, lines: &Lines<'_>) -> Self {
        let source = NamedSource::new(&diagnostic.file, String::new());
        if text.is_empty() {
            return Self {
                diagnostic,
                source,
                label: None,
            };
        }
        let start = lines.byte(diagnostic.line, diagnostic.column);
        let end = lines.byte(diagnostic.end_line, diagnostic.end_column).max(start);
        let label = Some(LabeledSpan::underline((start, end - start)));
        let source = NamedSource::new(&diagnostic.file, text.to_owned());
        Self {
            diagnostic,
            source,
            label,
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.label.is_none() {
            write!(
                f,
                "{}:{}:{}: ",
                self.diagnostic.file, self.diagnostic.line, self.diagnostic.column
            )?;
        }
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.diagnostic.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic
            .help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.label.is_some().then_some(&self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.label
            .clone()
            .map(|label| Box::new(std::iter::once(label)) as Box<dyn Iterator<Item = _>>)
    }
}
