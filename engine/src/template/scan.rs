//! Splits a text into plain pieces and expressions, and finds the names an expression refers to.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

use super::parts::{Expression, Parsed, Piece, Reference, Step, TemplateError};

/// Whether a text holds anything to evaluate or to refuse.
pub fn has_expression(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// Whether a text of a value has an expression: what becomes of it is known to a run only.
pub fn is_rendered(value: &Value) -> bool {
    match value {
        Value::String(text) => has_expression(text),
        Value::Array(items) => items.iter().any(is_rendered),
        Value::Object(map) => map.values().any(is_rendered),
        _ => false,
    }
}

/// The secrets that the texts of a value name.
pub fn secrets_in(value: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    match value {
        Value::String(text) if text.contains("secrets") => {
            let parsed = parse(text).unwrap_or_default();
            let references = parsed.expressions().flat_map(|expression| &expression.references);
            let secrets = references.filter(|reference| reference.key(0) == Some("secrets"));
            names.extend(secrets.filter_map(|reference| reference.key(1).map(str::to_owned)));
        }
        Value::Array(items) => names.extend(items.iter().flat_map(secrets_in)),
        Value::Object(map) => names.extend(map.values().flat_map(secrets_in)),
        _ => {}
    }
    names
}

/// Splits a text at its `{{ … }}`. Errors: statements, comments, calls, an expression that does not end.
pub fn parse(text: &str) -> Result<Parsed, TemplateError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(open) = next_open(text, at)? {
        if open > at {
            pieces.push(Piece::Text(at..open));
        }
        let close = find_close(text, open + 2)?;
        pieces.push(Piece::Expression(expression(text, open + 2..close)?));
        at = close + 2;
    }
    if at < text.len() {
        pieces.push(Piece::Text(at..text.len()));
    }
    Ok(Parsed { pieces })
}

/// Reads a text that is one expression, without braces around it. Errors: as those of [`parse`].
pub fn parse_expression(text: &str) -> Result<Expression, TemplateError> {
    if has_expression(text) {
        return fail(
            "this is an expression already: write it without braces",
            0..text.len(),
        );
    }
    if text.trim().is_empty() {
        return fail("empty expression", 0..text.len());
    }
    expression(text, 0..text.len())
}

/// The names that the texts inside `value` refer to; a text that is no template refers to nothing.
pub fn references(value: &Value) -> Vec<Reference> {
    match value {
        Value::String(text) if has_expression(text) => {
            let parsed = parse(text).unwrap_or_default();
            let found = parsed.pieces.into_iter().filter_map(|piece| match piece {
                Piece::Expression(expression) => Some(expression.references),
                Piece::Text(_) => None,
            });
            found.flatten().collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Object(map) => map.values().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

fn fail<T>(message: impl Into<String>, range: Range<usize>) -> Result<T, TemplateError> {
    Err(TemplateError {
        message: message.into(),
        range,
    })
}

fn next_open(text: &str, from: usize) -> Result<Option<usize>, TemplateError> {
    let bytes = text.as_bytes();
    for at in from..bytes.len().saturating_sub(1) {
        match (bytes[at], bytes[at + 1]) {
            (b'{', b'{') => return Ok(Some(at)),
            (b'{', b'%') => return no_syntax(text, ("statements", at)),
            (b'{', b'#') => return no_syntax(text, ("comments", at)),
            _ => {}
        }
    }
    Ok(None)
}

/// What other template languages read; here it would be a riddle whether a text or a mistake. Names how it is written as a text.
fn no_syntax<T>(text: &str, (what, at): (&str, usize)) -> Result<T, TemplateError> {
    let mark = &text[at..at + 2];
    let message = format!(
        "{what} (`{mark}`) do not exist here; as a text write {{{{ '{}' }}}}",
        as_written(text, at)
    );
    fail(message, at..at + 2)
}

/// The whole of a shell's `${#X}`, else the two marks alone.
fn as_written(text: &str, at: usize) -> &str {
    let end = text[at..].find('}').map(|end| at + end + 1);
    let plain = |part: &&str| !part.contains(['\'', '\\', '\n', '"']) && part.len() < 40;
    let whole = end
        .filter(|_| text[..at].ends_with('$'))
        .and_then(|end| text.get(at - 1..end));
    whole.filter(plain).unwrap_or(&text[at..at + 2])
}

/// Position of the `}}` that ends an expression; braces and quotes inside are respected.
fn find_close(text: &str, from: usize) -> Result<usize, TemplateError> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (from, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' | b'\'' => at = string_end(bytes, at).unwrap_or(bytes.len()),
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b'}' if bytes.get(at + 1) == Some(&b'}') => return Ok(at),
            _ => {}
        }
        at += 1;
    }
    fail("`{{` is never closed by `}}`", from - 2..from)
}

/// Position of the quote that ends the string starting at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut next = at + 1;
    while next < bytes.len() {
        match bytes[next] {
            b'\\' => next += 1,
            byte if byte == bytes[at] => return Some(next),
            _ => {}
        }
        next += 1;
    }
    None
}

fn expression(text: &str, inner: Range<usize>) -> Result<Expression, TemplateError> {
    let raw = &text[inner.clone()];
    if raw.starts_with(['-', '+']) || raw.ends_with('-') {
        return fail(
            "white-space control (`{{-`, `-}}`) does not exist here: put a blank",
            inner,
        );
    }
    let start = inner.start + (raw.len() - raw.trim_start().len());
    let range = start..start + raw.trim().len();
    if range.is_empty() {
        return fail("empty expression", inner.start - 2..inner.end + 2);
    }
    let mut scanner = Scanner {
        text,
        at: range.start,
        end: range.end,
        after: After::Start,
    };
    let references = scanner.references()?;
    let bare = matches!(references.as_slice(), [one] if one.range() == bare_range(text, &range) && !one.open);
    if !bare {
        compile(text, &range)?;
    }
    Ok(Expression {
        range,
        references,
        bare,
    })
}

fn compile(text: &str, range: &Range<usize>) -> Result<(), TemplateError> {
    super::render::compile(&text[range.clone()]).map_err(|message| TemplateError {
        message,
        range: range.clone(),
    })
}

/// A reference's range ends before the `]` or quote of its last subscript; so does this.
fn bare_range(text: &str, range: &Range<usize>) -> Range<usize> {
    let body = &text[range.clone()];
    range.start..range.start + body.trim_end_matches([']', ' ', '\'', '"']).len()
}

/// What came before the current token, as far as it changes what a name means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Start,
    /// `|`: the name is a filter.
    Pipe,
    /// `is`: the name is a test.
    Is,
    /// `.` behind something that is no reference.
    Dot,
    Other,
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    end: usize,
    after: After,
}

const WORDS: [&str; 13] = [
    "and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False", "None",
];

impl Scanner<'_> {
    fn references(&mut self) -> Result<Vec<Reference>, TemplateError> {
        let mut found = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b'"' | b'\'' => self.skip_string()?,
                b'0'..=b'9' => self.skip_number(),
                b'.' => self.punctuation(After::Dot),
                b'|' => self.punctuation(After::Pipe),
                byte if is_name_start(byte) => self.name(&mut found)?,
                byte if byte.is_ascii_whitespace() => self.at += 1,
                _ => self.punctuation(After::Other),
            }
        }
        Ok(found)
    }

    fn peek(&self) -> Option<u8> {
        (self.at < self.end).then(|| self.text.as_bytes()[self.at])
    }

    fn punctuation(&mut self, after: After) {
        self.at += 1;
        self.after = after;
    }

    fn skip_string(&mut self) -> Result<(), TemplateError> {
        let start = self.at;
        match string_end(&self.text.as_bytes()[..self.end], start) {
            Some(end) => self.at = end + 1,
            None => return fail("this string does not end", start..self.end),
        }
        self.after = After::Other;
        Ok(())
    }

    fn skip_number(&mut self) {
        while self
            .peek()
            .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'))
        {
            self.at += 1;
        }
        self.after = After::Other;
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn word(&mut self) -> Range<usize> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|b| is_name_start(b) || b.is_ascii_digit())
        {
            self.at += 1;
        }
        start..self.at
    }

    fn name(&mut self, found: &mut Vec<Reference>) -> Result<(), TemplateError> {
        let after = self.after;
        let range = self.word();
        let word = &self.text[range.clone()];
        self.after = After::Other;
        match after {
            After::Pipe if !super::render::has_filter(word) => {
                return fail(format!("there is no filter `{word}`"), range);
            }
            After::Is if word == "not" => self.after = After::Is,
            After::Is if !super::render::has_test(word) => {
                return fail(format!("there is no test `{word}`"), range);
            }
            After::Pipe | After::Is => {}
            After::Dot => self.refuse_call()?,
            _ if word == "is" => self.after = After::Is,
            _ if WORDS.contains(&word) => {}
            _ if self.is_argument_name() => {}
            _ => {
                let reference = self.path(range)?;
                found.push(reference);
            }
        }
        Ok(())
    }

    /// `name=` inside the arguments of a filter.
    fn is_argument_name(&self) -> bool {
        let rest = self.text[self.at..self.end].trim_start();
        rest.starts_with('=') && !rest.starts_with("==")
    }

    fn refuse_call(&mut self) -> Result<(), TemplateError> {
        let end = self.at;
        self.skip_blanks();
        if self.peek() == Some(b'(') {
            return fail(
                "calls do not exist here; filters do, as in `name | length`",
                end..self.at + 1,
            );
        }
        Ok(())
    }

    fn path(&mut self, root: Range<usize>) -> Result<Reference, TemplateError> {
        let key = |r: &Range<usize>| Step::Key(self.text[r.clone()].to_owned());
        let mut reference = Reference {
            path: vec![key(&root)],
            ranges: vec![root],
            open: false,
        };
        loop {
            self.refuse_call()?;
            match self.peek() {
                Some(b'.') => self.dot_step(&mut reference)?,
                Some(b'[') if !self.bracket_step(&mut reference)? => return Ok(reference),
                Some(b'[') => {}
                _ => return Ok(reference),
            }
        }
    }

    fn dot_step(&mut self, reference: &mut Reference) -> Result<(), TemplateError> {
        let dot = self.at;
        self.at += 1;
        self.skip_blanks();
        let range = self.word();
        if range.is_empty() {
            return fail("a name must follow the dot", dot..dot + 1);
        }
        reference
            .path
            .push(Step::Key(self.text[range.clone()].to_owned()));
        reference.ranges.push(range);
        Ok(())
    }

    /// Reads `['key']` or `[0]`; answers false when only the run knows the step.
    fn bracket_step(&mut self, reference: &mut Reference) -> Result<bool, TemplateError> {
        let inner = self.at + 1;
        let Some(length) = self.text[inner..self.end].find(']') else {
            return fail("`[` is never closed", self.at..self.at + 1);
        };
        let body = &self.text[inner..inner + length];
        let trimmed = body.trim();
        let quoted = trimmed
            .strip_prefix(['\'', '"'])
            .and_then(|t| t.strip_suffix(['\'', '"']));
        let step = match quoted {
            Some(key) if !key.contains(['\'', '"', '\\']) => Some((Step::Key(key.to_owned()), key)),
            _ => trimmed.parse().ok().map(|index| (Step::Index(index), trimmed)),
        };
        let Some((step, shown)) = step else {
            reference.open = true;
            self.punctuation(After::Other);
            return Ok(false);
        };
        let start = inner + body.find(shown).unwrap_or(0);
        reference.path.push(step);
        reference.ranges.push(start..start + shown.len());
        self.at = inner + length + 1;
        Ok(true)
    }
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let parsed = parse(text).unwrap();
        parsed
            .expressions()
            .flat_map(|e| e.references.iter().map(Reference::to_string))
            .collect()
    }

    fn error(text: &str) -> String {
        let error = parse(text).unwrap_err();
        format!("{:?} {}", &text[error.range], error.message)
    }

    #[test]
    fn references_are_found_and_filters_tests_strings_and_keywords_are_not() {
        assert_eq!(names("{{ tasks.pull.events }}"), ["tasks.pull.events"]);
        assert_eq!(
            names("a {{ params.a }} b {{vars['b c'].d}}"),
            ["params.a", "vars.b c.d"]
        );
        assert_eq!(
            names("{{ params.x | default(value=vars.y) }}"),
            ["params.x", "vars.y"]
        );
        assert_eq!(
            names("{{ 'params.no' ~ run.id if run.time is not none else 3.5 }}"),
            ["run.id", "run.time"]
        );
        assert_eq!(names("{{ tasks.a.list[0].name }}"), ["tasks.a.list.0.name"]);
        assert_eq!(names("{{ tasks.a[params.k].name }}"), ["tasks.a", "params.k"]);
        assert_eq!(names("{{ {'a': {'b': run.id}} }}"), ["run.id"]);
        assert_eq!(names("no { braces } here }}"), Vec::<String>::new());
    }

    #[test]
    fn a_bare_reference_is_told_from_an_expression() {
        let bare = |text: &str| parse(text).unwrap().whole().map(|e| e.bare);
        assert_eq!(bare("{{ tasks.a.b }}"), Some(true));
        assert_eq!(bare("{{ tasks['a'].b[0] }}"), Some(true));
        assert_eq!(bare("{{ tasks.a.b + 1 }}"), Some(false));
        assert_eq!(bare("{{ tasks.a.b }} "), None);
    }

    #[test]
    fn what_does_not_exist_is_refused_where_it_stands() {
        assert_eq!(
            error("x {% for %}"),
            "\"{%\" statements (`{%`) do not exist here; as a text write {{ '{%' }}"
        );
        assert_eq!(
            error("{# c #}"),
            "\"{#\" comments (`{#`) do not exist here; as a text write {{ '{#' }}"
        );
        assert_eq!(
            error("echo ${#NAME}"),
            "\"{#\" comments (`{#`) do not exist here; as a text write {{ '${#NAME}' }}"
        );
        assert!(parse("echo {{ '${#NAME}' }}").is_ok());
        assert_eq!(error("é {{ run.id "), "\"{{\" `{{` is never closed by `}}`");
        assert!(error("{{- run.id }}").contains("white-space control"));
        assert!(error("{{ range(9) }}").contains("calls do not exist"));
        assert!(error("{{ run.id.upper() }}").contains("calls do not exist"));
        assert!(error("{{ }}").contains("empty expression"));
        assert!(error("{{ run.id + }}").contains("unexpected end"));
        assert!(error("{{ run.id | nofilter }}").contains("nofilter"));
    }
}
