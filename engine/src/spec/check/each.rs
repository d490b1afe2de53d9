//! `for_each`: the list, what `item` is, and what cannot stand beside it.

use serde_json::{Value, json};

use super::super::decode::{Text, kind};
use super::super::diagnostic::Problem;
use super::super::raw::RawTask;
use super::names::Names;
use super::secret;
use super::tasks::{Edge, TaskCheck};
use crate::graph::MAX_ITEMS;
use crate::schema::{self, Found};
use crate::template::{Step, has_expression, parse};

/// The schema of `item` in a task that runs for the items of a list; any, where it is not known.
pub(super) fn item_schema(task: &RawTask<'_>, names: &Names<'_>) -> Option<Value> {
    let node = task.for_each?;
    let of_text = || {
        let parsed = parse(node.get_ref().as_str()?).ok()?;
        let reference = parsed.whole().filter(|whole| whole.bare)?.references.first()?;
        let list = names.lookup(reference).ok()??;
        match schema::step(list, &Step::Index(0)) {
            Found::Schema(item) => Some(item.clone()),
            Found::Missing(_) => None,
        }
    };
    Some(of_text().unwrap_or(json!(true)))
}

impl TaskCheck<'_, '_> {
    /// The list itself, and what cannot stand beside it.
    pub(super) fn list(&self, edges: &mut Vec<Edge>) {
        let doc = self.checker.doc;
        let Some(node) = self.task.for_each else {
            if let Some((_, span)) = &self.task.max_parallel {
                let message = "`max_parallel` has no effect without `for_each`";
                doc.report("impossible-bound", span.clone(), message);
            }
            return;
        };
        self.references_in(node, edges, secret::nowhere);
        if self.task.gate.is_some() {
            let message = format!(
                "task `{}` runs for each item of a list, but a gate is asked once",
                self.task.name.value
            );
            let problem = Problem::new("impossible-gate", self.task.name.span.clone(), message);
            doc.problems.add(
                problem.help("put the gate on a task that this one needs, as with `uses = \"approval\"`"),
            );
        }
        let wrong = match (node.get_ref().as_array(), node.get_ref().as_str()) {
            (Some(items), _) if items.len() > MAX_ITEMS as usize => Some(format!(
                "`for_each` has {} items, more than {MAX_ITEMS}",
                items.len()
            )),
            (Some(_), _) => None,
            (None, Some(text)) if has_expression(text) => {
                let text = Text {
                    value: text.to_owned(),
                    span: node.span(),
                };
                let fitter = self.fitter(Some(self.task.run_if()));
                let list = json!({"type": "array"});
                let problem = fitter.template(&text, &list, "for_each");
                problem.into_iter().for_each(|problem| doc.problems.add(problem));
                None
            }
            _ => Some(format!(
                "`for_each` must be a list, this is {}",
                kind(node.get_ref())
            )),
        };
        if let Some(message) = wrong {
            let problem = Problem::new("wrong-type", node.span(), message);
            doc.problems
                .add(problem.help("write a list, or refer to one: \"{{ tasks.NAME.OUTPUT }}\""));
        }
    }
}
