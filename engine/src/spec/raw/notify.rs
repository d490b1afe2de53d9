//! A `[[notify]]`.

use super::super::decode::{Doc, Node};
use super::super::diagnostic::Problem;
use crate::graph::{Moment, Notify};

const KEYS: [&str; 2] = ["on", "to"];

/// What is told of, and to which channel. `overdue` needs a flow that says what it `expects`.
pub(super) fn decode<'d>(doc: Doc<'d>, node: Node<'d>, expects: bool) -> Option<Notify> {
    let section = doc.section(node, "[[notify]]", &KEYS)?;
    if section.get("on").is_none() {
        doc.report(
            "missing-key",
            section.span.clone(),
            "[[notify]] needs the key `on`",
        );
    }
    let mut on = Vec::new();
    for text in section.texts("on") {
        let words = Moment::ALL.map(Moment::as_str);
        let Some(moment) = Moment::ALL
            .into_iter()
            .find(|moment| moment.as_str() == text.value)
        else {
            let problem = Problem::new(
                "wrong-value",
                text.span,
                format!("`on` knows no \"{}\"", text.value),
            );
            doc.problems
                .add_unknown(problem, &text.value, words.iter().copied());
            continue;
        };
        if moment == Moment::Overdue && !expects {
            let problem = Problem::new(
                "impossible-bound",
                text.span,
                "no run of this flow is ever overdue",
            );
            doc.problems.add(
                problem.help("say in [flow] how long a run is `expected` to take, like expected = \"45m\""),
            );
            continue;
        }
        if !on.contains(&moment) {
            on.push(moment);
        }
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
