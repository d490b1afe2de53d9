//! Where a task runs: `executor`, and the table of the same name.

use super::super::decode::{Doc, Node, Section, Text};
use super::super::diagnostic::Problem;

/// On workers, as all tasks do.
pub(in crate::spec) const LOCAL: &str = "local";
/// What the grammar has beside it, and no worker can do.
const ELSEWHERE: [&str; 2] = ["kubernetes", "ray"];

/// Refuses all that is not `local`, by its name. Nothing is to be remembered of the one that there is.
pub(super) fn check(section: &Section<'_>) {
    if let Some(text) = section.text("executor") {
        named(section.doc, &text);
    }
    for name in ELSEWHERE {
        if section.get(name).is_some() {
            section.doc.problems.add(not_yet(name, section.span_of(name)));
        }
    }
    if let Some(node) = section.get(LOCAL) {
        without_settings(section.doc, node);
    }
}

fn named(doc: Doc<'_>, text: &Text) {
    let name = text.value.as_str();
    if ELSEWHERE.contains(&name) {
        doc.problems.add(not_yet(name, text.span.clone()));
    } else if name != LOCAL {
        let message = format!("`executor` knows no \"{name}\"");
        let problem = Problem::new("wrong-value", text.span.clone(), message);
        doc.problems.add_unknown(problem, name, [LOCAL].into_iter());
    }
}

fn not_yet(name: &str, span: std::ops::Range<usize>) -> Problem {
    let message = format!("tasks do not run on {name} yet");
    let help = "`local` (workers) is what there is: executor = \"local\", or leave it out";
    Problem::new("not-yet", span, message).help(help)
}

fn without_settings<'d>(doc: Doc<'d>, node: Node<'d>) {
    let settings = doc.open(node, LOCAL).into_iter();
    for (key, _) in settings.flat_map(|section| section.entries().collect::<Vec<_>>()) {
        let message = format!("unknown key `{}` in `local`", key.value);
        let help = "`local` has no settings; how much a worker does at once, it is told by `tidegate worker --slots`";
        doc.problems
            .add(Problem::new("unknown-key", key.span, message).help(help));
    }
}
