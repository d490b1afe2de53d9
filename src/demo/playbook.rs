//! The production flows, as they lie in `flows/playbook/`, carried by the program.

use tidegate_engine::spec::{self, SourceFile};
use tidegate_engine::store::flows::NewVersion;

use crate::failure::Failure;

/// A flow file: path, text, and the file it names.
struct File {
    path: &'static str,
    text: &'static str,
    named: (&'static str, &'static str),
}

const FILES: [File; 2] = [
    File {
        path: "flows/playbook/train-ranking-model.toml",
        text: include_str!("../../flows/playbook/train-ranking-model.toml"),
        named: (
            "sql/ranking_features.sql",
            include_str!("../../flows/playbook/sql/ranking_features.sql"),
        ),
    },
    File {
        path: "flows/playbook/train-retrieval-model.toml",
        text: include_str!("../../flows/playbook/train-retrieval-model.toml"),
        named: (
            "sql/retrieval_features.sql",
            include_str!("../../flows/playbook/sql/retrieval_features.sql"),
        ),
    },
];

/// The flows over the events of a lake, ready to be stored.
pub fn versions(lake: &str, actor: &str) -> Result<Vec<NewVersion>, Failure> {
    let registry = tidegate_flows::registry();
    let variable = |name: &str| (name == "TIDEGATE_VAR_EVENTS").then(|| lake.to_owned());
    let checked = FILES.iter().map(|file| {
        let mut source = SourceFile::new(file.path, file.text);
        let (name, text) = file.named;
        source.files.insert(name.to_owned(), Ok(text.to_owned()));
        let checked = spec::check(&source, &registry, &variable)
            .map_err(|problems| Failure::usage(spec::render_text(&problems, &source.text, false)))?;
        Ok(NewVersion {
            flow: checked.flow,
            hash: checked.version,
            path: source.path,
            source: source.text,
            actor: actor.to_owned(),
        })
    });
    checked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_playbook_checks_as_the_program_carries_it() {
        let versions = versions("file:///lake", "system").unwrap();
        let names: Vec<&str> = versions
            .iter()
            .map(|version| version.flow.name.as_str())
            .collect();
        assert_eq!(names, ["train-ranking-model", "train-retrieval-model"]);
    }
}
