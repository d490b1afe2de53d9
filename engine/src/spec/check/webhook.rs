//! Webhooks: the secret, and what the runs are given of a message.

use indexmap::IndexMap;
use serde_json::Value;

use super::super::decode::{Doc, Node, Section, Text};
use super::super::diagnostic::Problem;
use super::super::raw::decode_given;
use super::given::given;
use crate::graph::{ParamSpec, Sender, Webhook};
use crate::secrets::is_name;
use crate::template::{Expression, TemplateError, has_expression, parse, parse_expression};

/// A webhook as decoded.
pub(super) struct Written<'d> {
    pub span: std::ops::Range<usize>,
    pub secret: Option<Text>,
    pub sender: Sender,
    pub when: Option<Text>,
    pub params: Option<Section<'d>>,
}

/// Checks the webhook of a flow. The answer counts only if no problem was noted.
pub(super) fn check<'d>(
    doc: Doc<'d>,
    written: Written<'d>,
    params: &IndexMap<String, ParamSpec>,
) -> Option<Webhook> {
    if let Some(when) = &written.when {
        match parse_expression(&when.value) {
            Ok(expression) => only_body(doc, when, &expression),
            Err(error) => no_template(doc, when, error),
        }
    }
    let section = written.params.as_ref();
    let params = given(
        doc,
        (section, params),
        ("this trigger", written.span),
        |key, node, spec| value(doc, (key, node), spec),
    );
    let secret = written.secret?;
    if !is_name(&secret.value) {
        let message = format!("`{}` is no name of a secret", secret.value);
        let problem = Problem::new("bad-name", secret.span, message);
        doc.problems
            .add(problem.help("name a secret; its value is set with `tidegate secret set NAME`"));
        return None;
    }
    Some(Webhook {
        secret: secret.value,
        sender: written.sender,
        when: written.when.map(|text| text.value),
        params,
    })
}

/// A param's value: as it is written, or a text that the message fills.
fn value<'d>(doc: Doc<'d>, (key, node): (&Text, Node<'d>), spec: &ParamSpec) -> Option<Value> {
    if !node.get_ref().as_str().is_some_and(has_expression) {
        return decode_given(doc, node, &key.value, &spec.kind);
    }
    let text = doc.text(node, &key.value)?;
    match parse(&text.value) {
        Ok(parsed) => {
            for expression in parsed.expressions() {
                only_body(doc, &text, expression);
            }
        }
        Err(error) => no_template(doc, &text, error),
    }
    Some(Value::String(text.value))
}

/// Before there is a run there are no params, no tasks and no secrets.
fn only_body(doc: Doc<'_>, text: &Text, expression: &Expression) {
    for reference in &expression.references {
        if reference.key(0) == Some("body") {
            continue;
        }
        let message = format!("there is no `{}` here", reference.path[0]);
        let problem = Problem::new(
            "unknown-name",
            doc.place(text, reference.ranges[0].clone()),
            message,
        );
        doc.problems
            .add(problem.help("a trigger knows the message alone: `body`, as its sender wrote it"));
    }
}

fn no_template(doc: Doc<'_>, text: &Text, error: TemplateError) {
    doc.report("bad-template", doc.place(text, error.range), error.message);
}
