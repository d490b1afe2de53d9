//! Evaluates expressions: minijinja behind strict undefined, fuel, and a cap on what may come out.

use std::sync::OnceLock;

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

use super::parts::{Parsed, Piece, TemplateError};
use super::scan::{has_expression, parse};

/// Steps an expression may take.
const FUEL: u64 = 100_000;
/// Bytes that the expressions of one value may yield together.
const OUTPUT_CAP: usize = 1 << 20;

/// Why a value could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The text is no template.
    #[error("`{text}` is no template")]
    Syntax {
        /// The text as written.
        text: String,
        /// What is wrong.
        source: TemplateError,
    },
    /// The expression names something that does not exist.
    #[error("`{{{{ {expression} }}}}` is undefined")]
    Undefined {
        /// The expression as written.
        expression: String,
    },
    /// The expression cannot be evaluated.
    #[error("`{{{{ {expression} }}}}`: {reason}")]
    Failed {
        /// The expression as written.
        expression: String,
        /// What the evaluator said.
        reason: String,
    },
    /// More than 1 MiB came out.
    #[error("the expressions yield more than 1 MiB")]
    TooLarge,
}

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let globals: Vec<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
        globals.iter().for_each(|name| environment.remove_global(name));
        environment
    })
}

fn reason(error: &minijinja::Error) -> String {
    error.detail().map_or_else(
        || error.kind().to_string(),
        |detail| format!("{}: {detail}", error.kind()),
    )
}

/// Checks that an expression can be evaluated at all; the error says why not.
pub(super) fn compile(expression: &str) -> Result<(), String> {
    let compiled = environment().compile_expression(expression);
    compiled.map(drop).map_err(|error| {
        error
            .detail()
            .map_or_else(|| error.kind().to_string(), str::to_owned)
    })
}

/// Whether a filter of that name exists.
pub(super) fn has_filter(name: &str) -> bool {
    let outcome = environment().empty_state().apply_filter(name, &[]);
    outcome.map_or_else(
        |error| error.kind() != minijinja::ErrorKind::UnknownFilter,
        |_| true,
    )
}

/// Whether a test (`x is NAME`) of that name exists.
pub(super) fn has_test(name: &str) -> bool {
    let outcome = environment().empty_state().perform_test(name, &[]);
    outcome.map_or_else(
        |error| error.kind() != minijinja::ErrorKind::UnknownTest,
        |_| true,
    )
}

/// Renders every text inside `value` (keys of tables stay as they are) with the names of `scope`, an object. What an
/// expression yields is not looked at again.
pub fn render_value(value: &Value, scope: &Value) -> Result<Value, RenderError> {
    let mut renderer = Renderer {
        names: scope,
        scope: None,
        left: OUTPUT_CAP,
    };
    renderer.value(value)
}

/// Renders one text to text, whatever its expressions yield.
pub fn render_text(text: &str, scope: &Value) -> Result<String, RenderError> {
    let mut renderer = Renderer {
        names: scope,
        scope: None,
        left: OUTPUT_CAP,
    };
    renderer.text(text).map(|value| as_text(&value))
}

/// Evaluates one expression, written without braces.
pub fn evaluate(expression: &str, scope: &Value) -> Result<Value, RenderError> {
    let mut renderer = Renderer {
        names: scope,
        scope: None,
        left: OUTPUT_CAP,
    };
    renderer.evaluate(expression)
}

struct Renderer<'s> {
    names: &'s Value,
    /// The names as the evaluator takes them, once there is something to evaluate: most texts are just texts.
    scope: Option<minijinja::Value>,
    left: usize,
}

impl Renderer<'_> {
    fn value(&mut self, value: &Value) -> Result<Value, RenderError> {
        Ok(match value {
            Value::String(text) => self.text(text)?,
            Value::Array(items) => items
                .iter()
                .map(|item| self.value(item))
                .collect::<Result<_, _>>()?,
            Value::Object(map) => {
                let entries = map.iter().map(|(key, item)| Ok((key.clone(), self.value(item)?)));
                Value::Object(entries.collect::<Result<Map<_, _>, RenderError>>()?)
            }
            plain => plain.clone(),
        })
    }

    fn text(&mut self, text: &str) -> Result<Value, RenderError> {
        if !has_expression(text) {
            return Ok(Value::String(text.to_owned()));
        }
        let parsed = parse(text).map_err(|source| RenderError::Syntax {
            text: text.to_owned(),
            source,
        })?;
        match parsed.whole() {
            Some(expression) => self.evaluate(&text[expression.range.clone()]),
            None => self.join(text, &parsed).map(Value::String),
        }
    }

    fn join(&mut self, text: &str, parsed: &Parsed) -> Result<String, RenderError> {
        let mut out = String::with_capacity(text.len());
        for piece in &parsed.pieces {
            match piece {
                Piece::Text(range) => out.push_str(&text[range.clone()]),
                Piece::Expression(e) => out.push_str(&as_text(&self.evaluate(&text[e.range.clone()])?)),
            }
        }
        Ok(out)
    }

    fn evaluate(&mut self, expression: &str) -> Result<Value, RenderError> {
        let failed = |reason: String| RenderError::Failed {
            expression: expression.to_owned(),
            reason,
        };
        let compiled = environment()
            .compile_expression(expression)
            .map_err(|e| failed(reason(&e)))?;
        let names = self.names;
        let scope = self
            .scope
            .get_or_insert_with(|| minijinja::Value::from(Serde(names)));
        let value = compiled.eval(scope.clone()).map_err(|error| match error.kind() {
            minijinja::ErrorKind::UndefinedError => RenderError::Undefined {
                expression: expression.to_owned(),
            },
            _ => failed(reason(&error)),
        })?;
        if value.is_undefined() {
            return Err(RenderError::Undefined {
                expression: expression.to_owned(),
            });
        }
        let json = serde_json::to_value(&value).map_err(|error| failed(error.to_string()))?;
        if json.is_null() && !value.is_none() {
            return Err(failed("the result is no finite number".to_owned()));
        }
        self.left = self.left.checked_sub(size(&json)).ok_or(RenderError::TooLarge)?;
        Ok(json)
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// About how many bytes a value takes as JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| size(item) + 1).sum::<usize>() + 2,
        Value::Object(map) => {
            map.iter()
                .map(|(key, item)| key.len() + size(item) + 4)
                .sum::<usize>()
                + 2
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use serde_json::json;

    fn scope() -> Value {
        json!({
            "params": {"days": 30, "evil": "{{ run.id }}{% raw %}", "share": 30.0, "when": null},
            "tasks": {"pull": {"events": {"uri": "s3://b/k", "size": 9_007_199_254_740_993_i64}}},
            "run": {"id": "r1"},
        })
    }

    fn render(value: Value) -> Result<Value, String> {
        render_value(&value, &scope()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_whole_expression_yields_the_native_value_and_a_mixed_text_a_text() {
        let with = json!({"a": "{{ params.days }}", "b": "{{params.days}} days", "c": ["{{ tasks.pull.events }}", 1, null]});
        let want = json!({"a": 30, "b": "30 days", "c": [{"uri": "s3://b/k", "size": 9_007_199_254_740_993_i64}, 1, null]});
        assert_eq!(render(with), Ok(want));
        assert_eq!(render(json!("{{ params.share }}")).unwrap().to_string(), "30.0");
        assert_eq!(render(json!("at {{ params.when }}")), Ok(json!("at null")));
    }

    #[test]
    fn a_value_is_never_rendered_twice() {
        assert_eq!(
            render(json!("{{ params.evil }}")),
            Ok(json!("{{ run.id }}{% raw %}"))
        );
        assert_eq!(
            render(json!("x {{ params.evil }}")),
            Ok(json!("x {{ run.id }}{% raw %}"))
        );
    }

    #[test]
    fn an_undefined_name_is_an_error_that_names_the_expression() {
        let message = "`{{ tasks.pull.nothing }}` is undefined".to_owned();
        assert_eq!(
            render(json!({"a": ["{{ tasks.pull.nothing }}"]})),
            Err(message.clone())
        );
        assert_eq!(render(json!("at {{ tasks.pull.nothing }}")), Err(message));
        assert!(
            render(json!("{{ nobody.home }}"))
                .unwrap_err()
                .contains("undefined")
        );
        assert_eq!(
            render(json!("{{ tasks.pull.nothing | default(3) }}")),
            Ok(json!(3))
        );
    }

    #[test]
    fn what_grows_without_end_is_stopped() {
        let big = json!({"params": {"x": "y".repeat(600_000)}});
        let twice = json!(["{{ params.x }}", "{{ params.x }}"]);
        assert_eq!(render_value(&twice, &big), Err(RenderError::TooLarge));
        assert!(render(json!("{{ 'x' * 1000000000 }}")).is_err());
        assert!(render(json!("{{ 1e308 * 10 }}")).is_err());
        assert!(render(json!("{{ range(3) }}")).is_err());
    }
}
