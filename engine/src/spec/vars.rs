//! `[vars]`: constants, in which `${TIDEGATE_VAR_X}` is replaced when the file is read.

use serde_json::Value;

use super::decode::{Doc, Node, Text};
use super::diagnostic::Problem;
use crate::template::has_expression;

/// The one prefix of variables that a flow file may read.
pub(super) const PREFIX: &str = "TIDEGATE_VAR_";

/// Answers a variable of the environment.
pub type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The value of one var, its variables replaced.
pub(super) fn resolve<'d>(doc: Doc<'d>, name: &Text, node: Node<'d>, env: Env<'_>) -> Value {
    let mut value = doc.json(node, &name.value);
    walk(doc, node, &mut value, env);
    value
}

fn walk<'d>(doc: Doc<'d>, node: Node<'d>, value: &mut Value, env: Env<'_>) {
    match value {
        Value::String(text) => *text = replace(doc, node, text, env),
        Value::Array(items) => {
            let nodes = node
                .get_ref()
                .as_array()
                .into_iter()
                .flat_map(|array| array.iter());
            items
                .iter_mut()
                .zip(nodes)
                .for_each(|(item, node)| walk(doc, node, item, env));
        }
        Value::Object(map) => {
            let table = node.get_ref().as_table();
            for (key, item) in map {
                if let Some(node) = table.and_then(|table| table.get(key.as_str())) {
                    walk(doc, node, item, env);
                }
            }
        }
        _ => {}
    }
}

fn replace<'d>(doc: Doc<'d>, node: Node<'d>, text: &str, env: Env<'_>) -> String {
    let place = Text {
        value: text.to_owned(),
        span: node.span(),
    };
    if has_expression(text) {
        let problem = Problem::new(
            "template-not-here",
            node.span(),
            "a var is a constant and is taken as it is written",
        );
        doc.problems
            .add(problem.help("put `{{ … }}` into the `with` that uses the var"));
    }
    let mut out = String::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("${").map(|found| at + found) {
        out.push_str(&text[at..open]);
        let Some(close) = text[open..].find('}').map(|found| open + found) else {
            doc.report(
                "bad-variable",
                doc.place(&place, open..text.len()),
                "`${` is never closed by `}`",
            );
            return out;
        };
        let span = doc.place(&place, open..close + 1);
        out.push_str(&variable(doc, span, &text[open + 2..close], env));
        at = close + 1;
    }
    out.push_str(&text[at..]);
    out
}

fn variable(doc: Doc<'_>, span: std::ops::Range<usize>, name: &str, env: Env<'_>) -> String {
    if !name.starts_with(PREFIX) || name.len() == PREFIX.len() {
        let problem = Problem::new("bad-variable", span, format!("a flow file cannot read `{name}`"));
        doc.problems
            .add(problem.help(format!("only variables named {PREFIX}… can be read")));
        return String::new();
    }
    env(name).unwrap_or_else(|| {
        let problem = Problem::new("unset-variable", span, format!("`{name}` is not set"));
        doc.problems
            .add(problem.help(format!("set it where the flow is applied:  export {name}=…")));
        String::new()
    })
}
