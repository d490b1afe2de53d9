//! `tidegate plugins` and `tidegate schema`: what a flow file may say.

use std::process::ExitCode;

use tidegate_engine::plugin::Descriptor;
use tidegate_engine::spec;

use super::{Output, REFUSED, complain, say};

/// Lists the plugins, or describes one; 6 when there is none of that name.
pub fn list(name: Option<&str>, output: Output) -> ExitCode {
    let registry = tidegate_flows::registry();
    let wanted: Vec<&Descriptor> = registry
        .iter()
        .map(|plugin| plugin.descriptor())
        .filter(|descriptor| name.is_none_or(|name| name == descriptor.name))
        .collect();
    if let (Some(name), true) = (name, wanted.is_empty()) {
        complain(&format!(
            "no plugin is called `{name}`; `tidegate plugins` lists them\n"
        ));
        return ExitCode::from(REFUSED);
    }
    match output {
        Output::Json => say(&format!("{:#}\n", serde_json::json!({ "items": wanted }))),
        Output::Table if name.is_some() => wanted.iter().for_each(|d| say(&described(d))),
        Output::Table => wanted.iter().for_each(|d| say(&row(d))),
    }
    ExitCode::SUCCESS
}

fn row(plugin: &Descriptor) -> String {
    format!("{:<14} {:<4} {}\n", plugin.name, plugin.version, plugin.purpose)
}

fn described(plugin: &Descriptor) -> String {
    format!(
        "{}\nwith: {:#}\noutputs: {:#}\n",
        row(plugin),
        plugin.input,
        plugin.output
    )
}

/// Prints the JSON Schema of a flow file.
pub fn schema() -> ExitCode {
    say(&format!("{:#}\n", spec::json_schema(&tidegate_flows::registry())));
    ExitCode::SUCCESS
}
