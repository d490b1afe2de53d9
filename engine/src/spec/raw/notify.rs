//! A `[[notify]]`.

use super::super::decode::{Doc, Node, Text};
use super::super::diagnostic::Problem;
use crate::graph::{Moment, Notify};

const KEYS: [&str; 2] = ["on", "to"];

/// Moments that only some flows have.
#[derive(Clone, Copy)]
pub(super) struct Comes {
    /// It says how long a run is expected to take.
    pub overdue: bool,
    /// People may be asked.
    pub waiting: bool,
}

impl Comes {
    /// Why a moment never comes, and what would bring it.
    fn never(self, moment: Moment) -> Option<(&'static str, &'static str)> {
        match moment {
            Moment::Overdue if !self.overdue => Some((
                "no run of this flow is ever overdue",
                "say in [flow] how long a run is `expected` to take, like expected = \"45m\"",
            )),
            Moment::Waiting if !self.waiting => Some((
                "no run of this flow ever waits for people",
                "leave it out, or put a gate on a task: [tasks.NAME.gate.approval]",
            )),
            _ => None,
        }
    }
}

/// What is told of, and to which channel.
pub(super) fn decode<'d>(doc: Doc<'d>, node: Node<'d>, comes: Comes) -> Option<Notify> {
    let section = doc.section(node, "[[notify]]", &KEYS)?;
    if section.get("on").is_none() {
        doc.report(
            "missing-key",
            section.span.clone(),
            "[[notify]] needs the key `on`",
        );
    }
    let is_empty = |node: Node<'_>| node.get_ref().as_array().is_some_and(|list| list.is_empty());
    if section.get("on").is_some_and(is_empty) {
        let problem = Problem::new(
            "without-effect",
            section.span_of("on"),
            "nothing is told: `on` is empty",
        );
        doc.problems
            .add(problem.help("name what is told, like on = [\"failed\"], or leave [[notify]] out"));
    }
    let mut on = Vec::new();
    for text in section.texts("on") {
        let moment = moment(doc, &text, comes);
        on.extend(moment.filter(|moment| !on.contains(moment)));
    }
    let to = section.required("to")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if to.value.is_empty() || !to.value.chars().all(plain) {
        let problem = Problem::new(
            "bad-name",
            to.span,
            format!("`{}` is no name of a channel", to.value),
        );
        doc.problems
            .add(problem.help("letters, digits, `-` and `_`, as in [channels.NAME] of tidegate.toml"));
        return None;
    }
    Some(Notify { on, to: to.value })
}

/// A moment that comes.
fn moment(doc: Doc<'_>, text: &Text, comes: Comes) -> Option<Moment> {
    let words = Moment::ALL.map(Moment::as_str);
    let found = Moment::ALL
        .into_iter()
        .find(|moment| moment.as_str() == text.value);
    let Some(moment) = found else {
        let message = format!("`on` knows no \"{}\"", text.value);
        let problem = Problem::new("wrong-value", text.span.clone(), message);
        doc.problems
            .add_unknown(problem, &text.value, words.iter().copied());
        return None;
    };
    let Some((message, help)) = comes.never(moment) else {
        return Some(moment);
    };
    let problem = Problem::new("impossible-bound", text.span.clone(), message);
    doc.problems.add(problem.help(help));
    None
}
