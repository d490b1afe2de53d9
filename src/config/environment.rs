//! The environment of the process, read once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::ConfigError;

/// Variables whose value may stand in a file that `NAME_FILE` names.
const SECRETS: [&str; 10] = [
    "DATABASE_URL",
    "TIDEGATE_SECRET_KEY",
    "TIDEGATE_TOKEN",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MILVUS_TOKEN",
    "TIDEGATE_DATABASE__URL",
];
/// Beginnings of the names that plugins may see without being told so in `worker.env`.
const FOR_PLUGINS: [&str; 3] = ["MLFLOW_", "AWS_", "MILVUS_"];

/// The variables of this process. An empty one counts as not set.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads all variables, and the files that stand for secrets.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the environment is read"
    )]
    pub fn read() -> Self {
        let all = std::env::vars_os().filter_map(|(name, value)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            (!value.is_empty()).then_some((name, value))
        });
        Self(all.collect())
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Reads the files that `NAME_FILE` names into `NAME`, for secrets.
    pub(super) fn with_secrets(&self) -> Result<Self, ConfigError> {
        let mut all = self.clone();
        for name in SECRETS {
            let pointer = format!("{name}_FILE");
            let Some(path) = self.get(&pointer) else { continue };
            if self.get(name).is_some() {
                return Err(ConfigError::Both { name, pointer });
            }
            let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
                path: path.into(),
                source,
            })?;
            all.0.remove(&pointer);
            all.0
                .insert(name.to_owned(), text.trim_end_matches(['\r', '\n']).to_owned());
        }
        Ok(all)
    }

    /// What plugins may see: the sets of the services they speak to, and what `worker.env` names.
    pub(super) fn for_plugins(&self, named: &BTreeSet<String>) -> BTreeMap<String, String> {
        let visible =
            |name: &str| named.contains(name) || FOR_PLUGINS.iter().any(|start| name.starts_with(start));
        let mut env: BTreeMap<String, String> = self.0.clone();
        env.retain(|name, _| visible(name));
        self.point_to_aws_files(&mut env);
        env
    }

    /// A plugin has no `HOME`; the shared files of AWS in the user's are named instead.
    fn point_to_aws_files(&self, env: &mut BTreeMap<String, String>) {
        let Some(home) = self.get("HOME") else { return };
        for (name, file) in [
            ("AWS_CONFIG_FILE", ".aws/config"),
            ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
        ] {
            let path = Path::new(home).join(file);
            if !env.contains_key(name) && path.is_file() {
                env.insert(name.to_owned(), path.display().to_string());
            }
        }
    }

    /// `TIDEGATE_SECTION__KEY` as (variable, section, key), in lower case.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, String, String)> {
        self.0.keys().filter_map(|name| {
            let rest = name
                .strip_prefix("TIDEGATE_")
                .filter(|rest| !rest.starts_with("VAR_"))?;
            let (section, key) = rest.split_once("__")?;
            Some((name.as_str(), section.to_lowercase(), key.to_lowercase()))
        })
    }

    /// Names that begin with `TIDEGATE_`, `TIDEGATE_VAR_*` apart.
    pub(super) fn ours(&self) -> impl Iterator<Item = &str> {
        let ours = self.0.keys().map(String::as_str);
        ours.filter(|name| name.starts_with("TIDEGATE_") && !name.starts_with("TIDEGATE_VAR_"))
    }
}

#[cfg(test)]
impl Environment {
    /// An environment of these variables.
    pub(super) fn of(all: &[(&str, &str)]) -> Self {
        Self(
            all.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }
}
