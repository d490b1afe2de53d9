//! Where secrets may stand: in what only the plugin sees, each as it is.

use super::super::decode::{Doc, Text};
use super::super::diagnostic::Problem;
use crate::template::{Expression, Reference};

fn secrets(expression: &Expression) -> impl Iterator<Item = &Reference> {
    let references = expression.references.iter();
    references.filter(|reference| reference.key(0) == Some("secrets"))
}

/// In a text that more than the plugin sees: none.
pub(super) fn nowhere(doc: Doc<'_>, text: &Text, expression: &Expression) {
    for secret in secrets(expression) {
        let place = doc.place(text, secret.range());
        let problem = Problem::new("secret-not-here", place, "secrets are only for `with` and `env`");
        doc.problems
            .add(problem.help("whatever stands here is stored and shown"));
    }
}

/// In `with` and `env`: what is made of a secret could not be hidden.
pub(super) fn plain(doc: Doc<'_>, text: &Text, expression: &Expression) {
    for secret in secrets(expression) {
        if expression.bare && !secret.open && secret.path.len() == 2 && secret.key(1).is_some() {
            continue;
        }
        let place = doc.place(text, expression.range.clone());
        let problem = Problem::new("secret-changed", place, "a secret is handed on as it is");
        let help = "write \"{{ secrets.NAME }}\", alone or within a text: what is made of a secret could not be hidden";
        doc.problems.add(problem.help(help));
    }
}
