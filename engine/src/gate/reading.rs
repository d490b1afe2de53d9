//! What was found where a rule looks: a number, a number with its interval, no baseline, or nothing that counts.

use serde_json::{Number, Value};

use super::decimal::Decimal;

/// A value as a rule reads it.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// A plain number.
    Point(Measured),
    /// `{value, low, high}`.
    Interval {
        /// The point.
        value: Measured,
        /// The ends; why there are none that count, else.
        ends: Result<(Measured, Measured), Undefined>,
    },
    /// `{"absent": "no_baseline"}`: there is nothing to compare with yet.
    NoBaseline,
    /// Nothing a gate could open on.
    Undefined(Undefined),
}

/// A finite number, as it was written and as it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// As in the JSON.
    pub number: Number,
    /// What it prints as.
    pub decimal: Decimal,
}

/// Why a value does not count, as the rest of a sentence: `… is missing`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undefined {
    /// The reference led nowhere.
    #[error("is missing")]
    Missing,
    /// JSON null; NaN and the infinities arrive as this too.
    #[error("is null (NaN and infinite numbers arrive as null)")]
    Null,
    /// A number beyond what a double can hold.
    #[error("is {0}, which is not finite")]
    NotFinite(String),
    /// A text, even of digits.
    #[error("is the text {0:?}, not a number")]
    Text(String),
    /// `true` or `false`.
    #[error("is {0}, not a number")]
    Bool(bool),
    /// A list.
    #[error("is a list, not a number")]
    List,
    /// An object of another shape.
    #[error("is an object without {{value, low, high}}")]
    Object,
    /// A part of `{value, low, high}`.
    #[error("has a `{part}` that {why}")]
    Part {
        /// `value`, `low` or `high`.
        part: &'static str,
        /// What is wrong with it.
        why: Box<Undefined>,
    },
    /// `low` above `high`.
    #[error("has an interval that runs backwards")]
    Backwards,
    /// The expression itself went wrong.
    #[error("cannot be evaluated: {0}")]
    Failed(String),
    /// An absence that is no `no_baseline`.
    #[error("is absent: {0}")]
    Absent(String),
}

impl Reading {
    /// Reads what a reference led to; `None` where it led nowhere.
    pub fn of(value: Option<&Value>) -> Self {
        match value {
            Some(Value::Object(object)) => object_reading(object),
            other => measure(other).map_or_else(Self::Undefined, Self::Point),
        }
    }
}

fn measure(value: Option<&Value>) -> Result<Measured, Undefined> {
    match value {
        None => Err(Undefined::Missing),
        Some(Value::Null) => Err(Undefined::Null),
        Some(Value::Bool(bool)) => Err(Undefined::Bool(*bool)),
        Some(Value::String(text)) => Err(Undefined::Text(short(text))),
        Some(Value::Array(_)) => Err(Undefined::List),
        Some(Value::Object(_)) => Err(Undefined::Object),
        Some(Value::Number(number)) => match Decimal::from_number(number) {
            Some(decimal) => Ok(Measured {
                number: number.clone(),
                decimal,
            }),
            None => Err(Undefined::NotFinite(short(&number.to_string()))),
        },
    }
}

fn object_reading(object: &serde_json::Map<String, Value>) -> Reading {
    if let Some(absent) = object.get("absent") {
        return match absent {
            Value::String(word) if word == "no_baseline" && object.len() == 1 => Reading::NoBaseline,
            other => Reading::Undefined(Undefined::Absent(short(
                other.as_str().unwrap_or("of unknown kind"),
            ))),
        };
    }
    if !["value", "low", "high"]
        .iter()
        .any(|part| object.contains_key(*part))
    {
        return Reading::Undefined(Undefined::Object);
    }
    let part = |part: &'static str| {
        measure(object.get(part)).map_err(|why| Undefined::Part {
            part,
            why: Box::new(why),
        })
    };
    let ends = part("low").and_then(|low| Ok((low, part("high")?)));
    let ends = ends.and_then(|(low, high)| {
        if low.decimal > high.decimal {
            Err(Undefined::Backwards)
        } else {
            Ok((low, high))
        }
    });
    part("value").map_or_else(Reading::Undefined, |value| Reading::Interval { value, ends })
}

/// At most forty characters, for a sentence.
fn short(text: &str) -> String {
    let cut: String = text.chars().take(40).collect();
    if cut.len() < text.len() { cut + "…" } else { cut }
}
