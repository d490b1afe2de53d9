//! Keys of a task that have no effect beside its plugin.

use super::super::diagnostic::Problem;
use super::tasks::TaskCheck;
use crate::plugin::{Descriptor, ErasedPlugin, Objection};

impl TaskCheck<'_, '_> {
    /// Those that are written.
    pub(super) fn idle_keys(&self, plugin: &dyn ErasedPlugin) {
        let idle = plugin.idle_keys(&self.facts.with);
        for objection in uncacheable(plugin.descriptor()).into_iter().chain(idle) {
            let Some(key) = self.task.keys.iter().find(|key| key.value == objection.key) else {
                continue;
            };
            let problem = Problem::new("without-effect", key.span.clone(), objection.message);
            self.checker.doc.problems.add(problem.help(objection.help));
        }
    }
}

/// What was handed on before is not what was done before.
fn uncacheable(plugin: &Descriptor) -> Option<Objection> {
    let message = || {
        format!(
            "`cache` does not go with `uses = \"{}\"`: its point is what it does, and that would not be done",
            plugin.name
        )
    };
    let help = "leave it out, and put `cache` on the tasks whose outputs can stand in";
    plugin.acts.then(|| Objection::idle("cache", message(), help))
}
