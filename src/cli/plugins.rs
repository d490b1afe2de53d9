//! `tidegate plugins` and `tidegate schema`: what a flow file may say.

use clap::Args;
use serde_json::Value;
use tidegate_engine::plugin::Descriptor;
use tidegate_engine::spec;

use super::{Ended, Output, Session, page, say_json};
use crate::failure::{Failure, code};
use crate::term::{Cell, Style, Table, paint, say};

/// Arguments of `plugins`.
#[derive(Debug, Args)]
pub struct Plugins {
    /// Plugin to describe
    name: Option<String>,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Lists the plugins, or describes one; 6 when there is none of that name.
pub fn list(args: &Plugins, session: &Session) -> Ended {
    let registry = tidegate_flows::registry();
    let all: Vec<&Descriptor> = registry.iter().map(|plugin| plugin.descriptor()).collect();
    let wanted: Vec<&Descriptor> = all
        .iter()
        .copied()
        .filter(|plugin| args.name.as_deref().is_none_or(|name| name == plugin.name))
        .collect();
    if let (Some(name), true) = (&args.name, wanted.is_empty()) {
        let help = spec::suggest(name, "there are", all.iter().map(|plugin| plugin.name));
        return Err(Failure::refused(format!("no plugin is called `{name}`")).help(help.unwrap_or_default()));
    }
    if args.output == Output::Json {
        return say_json(&page(wanted));
    }
    if args.name.is_some() {
        wanted.iter().for_each(|plugin| describe(plugin, session));
        return Ok(code::DONE);
    }
    let mut table = Table::new(&["PLUGIN", "VERSION", "PURPOSE"], 2);
    for plugin in wanted {
        table.row(vec![
            Cell::styled(plugin.name, Style::Bold),
            Cell::new(plugin.version),
            Cell::new(plugin.purpose),
        ]);
    }
    say(&table.render(&session.term, "no plugins"));
    Ok(code::DONE)
}

fn describe(plugin: &Descriptor, session: &Session) {
    let name = paint(plugin.name, Style::Bold, session.term.color);
    say(&format!("{name} {}\n{}\n", plugin.version, plugin.purpose));
    for (title, schema) in [("with", &plugin.input), ("outputs", &plugin.output)] {
        say(&format!(
            "\n{}",
            fields(title, schema).render(&session.term, &format!("{title}: none"))
        ));
    }
    say("\n-o json has the whole schemas.\n");
}

/// The properties of an object's schema, a row each.
fn fields(title: &'static str, schema: &Value) -> Table {
    let mut table = Table::new(&[title, "TYPE", "", "MEANS"], 3).wrapping();
    let required = |name: &str| {
        let all = schema["required"].as_array();
        all.is_some_and(|all| all.iter().any(|other| other == name))
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let meaning = property["description"].as_str().unwrap_or_default();
        table.row(vec![
            Cell::new(name),
            Cell::styled(kind(property), Style::Dim),
            Cell::styled(if required(name) { "required" } else { "" }, Style::Yellow),
            Cell::new(meaning.replace('\n', " ")),
        ]);
    }
    table
}

/// The type of a schema in a word.
fn kind(schema: &Value) -> String {
    if let Some(word) = schema["type"].as_str() {
        return word.to_owned();
    }
    if schema["enum"].is_array() || schema["oneOf"].is_array() {
        return "choice".to_owned();
    }
    let several = schema["type"].as_array().or_else(|| schema["anyOf"].as_array());
    let words = several
        .into_iter()
        .flatten()
        .map(|one| one.as_str().map_or_else(|| kind(one), str::to_owned));
    let words: Vec<String> = words.filter(|word| word != "null").collect();
    if words.is_empty() {
        "any".to_owned()
    } else {
        words.join(" or ")
    }
}

/// Prints the JSON Schema of a flow file.
pub fn schema() -> Ended {
    say_json(&spec::json_schema(&tidegate_flows::registry()))
}
