//! Outputs that may not be there when a task runs: those of needs that need not have succeeded for it. They are null then, which
//! is right only where null may stand.

use super::super::decode::Text;
use super::super::diagnostic::Problem;
use super::fit::Fitter;
use super::names::Names;
use crate::graph::RunIf;
use crate::schema::{self, Types};
use crate::template::{Parsed, Reference, parse};

impl Names<'_> {
    /// The task that a reference leads to, where a task that runs under `run_if` cannot count on its success.
    fn doubtful(&self, reference: &Reference, run_if: RunIf) -> Option<&str> {
        let name = reference.key(1).filter(|_| reference.key(0) == Some("tasks"))?;
        let facts = &self.facts[self.find(name)? as usize];
        (run_if != RunIf::AllSucceeded || facts.tolerated).then_some(facts.name.as_str())
    }
}

impl Fitter<'_, '_> {
    /// A bare reference to what may be null, where null does not fit.
    pub(super) fn doubt(
        &self,
        text: &Text,
        reference: &Reference,
        (schema, label): (&serde_json::Value, &str),
    ) -> Option<Problem> {
        let task = self.names.doubtful(reference, self.run_if?)?;
        if Types::of(&serde_json::Value::Null).within(schema::types(schema)) {
            return None;
        }
        let message = format!(
            "`{label}` must be {}, but `{reference}` is null when task `{task}` does not succeed",
            schema::describe(schema)
        );
        Some(self.absent(text, reference, message))
    }

    /// References to what may be null within a text, which would hold the word `null` then.
    pub(super) fn doubts_in(&self, text: &Text, parsed: &Parsed) -> Option<Problem> {
        let mut bare = parsed.expressions().filter(|expression| expression.bare);
        bare.find_map(|expression| {
            let reference = expression.references.first()?;
            let task = self.names.doubtful(reference, self.run_if?)?;
            let message = format!(
                "`{reference}` is null when task `{task}` does not succeed, and a text cannot hold that"
            );
            Some(self.absent(text, reference, message))
        })
    }

    /// The same of a text that becomes a text whatever it holds, like a variable of the environment.
    pub(super) fn doubts(&self, text: &Text) -> Option<Problem> {
        self.doubts_in(text, &parse(&text.value).ok()?)
    }

    fn absent(&self, text: &Text, reference: &Reference, message: String) -> Problem {
        let place = self.doc.place(text, reference.range());
        Problem::new("maybe-absent", place, message).help(format!(
            "say what to use then: {{{{ {reference} if {reference} is not none else … }}}}"
        ))
    }
}
