//! One typed configuration, parsed once. Flags come before the environment, the environment before `tidegate.toml`.
//!
//! The only place of the program that reads the environment.

mod environment;
mod file;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tidegate_engine::graph::EVERY_QUEUE;
use tidegate_engine::id::TaskName;
use tidegate_engine::secrets::KeySource;
use tidegate_flows::net::Places;
use toml::{Spanned, Table, Value};

pub use environment::Environment;
pub use file::{BIND, Settings};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that is named cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An unknown key, a wrong type, or no TOML at all; the message names line and column.
    #[error("{}: {}", path.display(), problem.to_string().trim_end())]
    File {
        /// Which.
        path: PathBuf,
        /// Place and problem. No source: it is all in the message.
        problem: Box<toml::de::Error>,
    },
    /// A value of the file that fits its type and nothing else.
    #[error("{}, line {line}: {key} {why}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Where its key stands, from 1.
        line: usize,
        /// `worker.slots`.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A `TIDEGATE_SECTION__KEY` that is no setting, or whose value does not fit.
    #[error("the variable {name} {why}")]
    Variable {
        /// Which.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A secret and the file for it.
    #[error("both {name} and {pointer} are set; one of them must go")]
    Both {
        /// The variable.
        name: &'static str,
        /// The variable that names its file.
        pointer: String,
    },
}

/// What the program is told by its surroundings.
#[derive(Clone)]
pub struct Config {
    /// Folder of the private PostgreSQL, of work and artifacts; absolute.
    pub home: PathBuf,
    /// `tidegate.toml` and `TIDEGATE_SECTION__KEY`.
    pub settings: Settings,
    /// Server whose client the command line shall be: `TIDEGATE_URL`.
    pub server: Option<String>,
    /// What it is asked with: `TIDEGATE_TOKEN`.
    pub token: Option<String>,
    /// Where the key of the secrets is: `TIDEGATE_SECRET_KEY`, else a file of the home.
    pub secret_key: KeySource,
    /// Variables that plugins may see.
    pub for_plugins: BTreeMap<String, String>,
    /// `PATH`, where PostgreSQL's programs are looked for.
    pub path: Option<String>,
}

impl Config {
    /// Reads file and environment.
    pub fn load(env: &Environment) -> Result<Self, ConfigError> {
        let env = env.with_secrets()?;
        nearly_ours(&env)?;
        let file = read_file(&env)?;
        let mut table = file.table()?;
        for (name, section, key) in env.settings() {
            override_key(
                &mut table,
                (name, &section, &key),
                env.get(name).unwrap_or_default(),
            )?;
        }
        let mut settings =
            Settings::deserialize_table(table).map_err(|problem| failed(&file.path, problem))?;
        if env.get("TIDEGATE_DATABASE__URL").is_none() {
            settings.database.url = env
                .get("DATABASE_URL")
                .map(str::to_owned)
                .or(settings.database.url);
        }
        let blame = |wrong| blame(wrong, &file, &env);
        settings.check().map_err(blame)?;
        complete_channels(&mut settings).map_err(blame)?;
        let home = absolute(env.get("TIDEGATE_HOME").unwrap_or(".tidegate"));
        let key = env.get("TIDEGATE_SECRET_KEY");
        let file = || KeySource::File(home.join("secret.key"));
        Ok(Self {
            secret_key: key.map_or_else(file, |key| KeySource::Given(key.to_owned())),
            home,
            server: env.get("TIDEGATE_URL").map(str::to_owned),
            token: env.get("TIDEGATE_TOKEN").map(str::to_owned),
            for_plugins: env.for_plugins(&settings.worker.env),
            path: env.get("PATH").map(str::to_owned),
            settings,
        })
    }
}

impl Settings {
    fn deserialize_table(table: Table) -> Result<Self, toml::de::Error> {
        Value::Table(table).try_into()
    }

    fn check(&self) -> Result<(), Wrong> {
        let wrong = |section, key: &str, why: String| Err(Wrong::new(section, key, why));
        if self.worker.slots == 0 {
            return wrong("worker", "slots", "is too small: at least 1 is needed".to_owned());
        }
        if self.database.connections < 4 {
            return wrong(
                "database",
                "connections",
                "is too small: at least 4 are needed".to_owned(),
            );
        }
        let queues = self.worker.queues.iter().flatten();
        for queue in queues.filter(|queue| *queue != EVERY_QUEUE) {
            if let Err(error) = TaskName::new(queue.as_str()) {
                return wrong(
                    "worker",
                    "queues",
                    format!("has `{queue}`, which is no queue: {error}"),
                );
            }
        }
        if self.worker.queues.as_ref().is_some_and(Vec::is_empty) {
            let why = "is empty: a worker serves at least one queue, or all with [\"*\"]";
            return wrong("worker", "queues", why.to_owned());
        }
        if let Err(error) = Places::parse(&self.http.allow) {
            return wrong("http", "allow", format!("is not understood: {error}"));
        }
        Ok(())
    }
}

/// A setting whose value cannot be meant.
struct Wrong {
    section: &'static str,
    key: String,
    why: String,
}

impl Wrong {
    fn new(section: &'static str, key: &str, why: String) -> Self {
        Self {
            section,
            key: key.to_owned(),
            why,
        }
    }
}

/// Names where a wrong value stands: the variable that was set, else the line of the file.
fn blame(Wrong { section, key, why }: Wrong, file: &File, env: &Environment) -> ConfigError {
    let variable = env
        .settings()
        .find(|(_, of, name)| *of == section && *name == key);
    match (variable, file.line_of(section, &key)) {
        (None, Some(line)) => ConfigError::Value {
            path: file.path.clone(),
            line,
            key: format!("{section}.{key}"),
            why,
        },
        (found, _) => ConfigError::Variable {
            name: found.map_or_else(
                || format!("TIDEGATE_{}__{}", section.to_uppercase(), key.to_uppercase()),
                |(name, ..)| name.to_owned(),
            ),
            why,
        },
    }
}

/// Takes in the secrets of channels that lie in files.
fn complete_channels(settings: &mut Settings) -> Result<(), Wrong> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    for (name, channel) in &mut settings.channels {
        let done = channel.complete(read);
        done.map_err(|why| Wrong::new("channels", name, format!("cannot be used: {why}")))?;
    }
    Ok(())
}

fn path_of(env: &Environment) -> PathBuf {
    env.get("TIDEGATE_CONFIG")
        .map_or_else(file::default_path, PathBuf::from)
}

fn absolute(path: &str) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
}

/// `tidegate.toml`, as text; empty where there is none.
struct File {
    path: PathBuf,
    text: String,
}

impl File {
    /// Read twice: typed, for errors with their place, and as a table that fits [`Settings`], to lay the environment over it.
    fn table(&self) -> Result<Table, ConfigError> {
        let failed = |problem| failed(&self.path, problem);
        toml::from_str::<Settings>(&self.text).map_err(failed)?;
        toml::from_str::<Table>(&self.text).map_err(failed)
    }

    /// The line, from 1, on which a key of a section stands.
    fn line_of(&self, section: &str, key: &str) -> Option<usize> {
        type Keys = BTreeMap<Spanned<String>, Value>;
        let sections: BTreeMap<String, Keys> = toml::from_str(&self.text).ok()?;
        let mut keys = sections.get(section)?.keys();
        let place = keys.find(|known| known.get_ref() == key)?.span().start;
        Some(self.text.get(..place)?.matches('\n').count() + 1)
    }
}

/// A missing file is an error only when it was named.
fn read_file(env: &Environment) -> Result<File, ConfigError> {
    let path = path_of(env);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(File { path, text }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && env.get("TIDEGATE_CONFIG").is_none() => {
            let text = String::new();
            Ok(File { path, text })
        }
        Err(source) => Err(ConfigError::Unreadable { path, source }),
    }
}

fn failed(path: &Path, problem: toml::de::Error) -> ConfigError {
    ConfigError::File {
        path: path.to_owned(),
        problem: Box::new(problem),
    }
}

/// Puts the value of a variable into the table, as the type its key wants.
fn override_key(
    table: &mut Table,
    (name, section, key): (&str, &str, &str),
    text: &str,
) -> Result<(), ConfigError> {
    let alone = |value: Value| {
        let section_table = Table::from_iter([(key.to_owned(), value)]);
        Table::from_iter([(section.to_owned(), Value::Table(section_table))])
    };
    let as_toml = toml::from_str::<Table>(&format!("v = {text}"))
        .ok()
        .and_then(|mut t| t.remove("v"));
    let candidates = [Some(Value::String(text.to_owned())), as_toml];
    let mut why = String::new();
    for value in candidates.into_iter().flatten() {
        match Settings::deserialize_table(alone(value.clone())) {
            Ok(_) => {
                let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(inner) = entry {
                    inner.insert(key.to_owned(), value);
                }
                return Ok(());
            }
            Err(error) => why = error.message().to_owned(),
        }
    }
    Err(ConfigError::Variable {
        name: name.to_owned(),
        why: format!("does not fit: {why}"),
    })
}

/// `TIDEGATE_WEB_BIND` looks like a setting and would be ignored for want of an underscore.
fn nearly_ours(env: &Environment) -> Result<(), ConfigError> {
    for name in env.ours().filter(|name| !name.contains("__")) {
        let rest = name.trim_start_matches("TIDEGATE_").to_lowercase();
        let meant = file::KEYS
            .iter()
            .find(|(section, key)| rest == format!("{section}_{key}"));
        if let Some((section, key)) = meant {
            let right = format!("TIDEGATE_{}__{}", section.to_uppercase(), key.to_uppercase());
            return Err(ConfigError::Variable {
                name: name.to_owned(),
                why: format!("is no setting; did you mean {right}, with two underscores?"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: Option<&str>, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.toml");
        let mut env = env.to_vec();
        let named = path.display().to_string();
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
            env.push(("TIDEGATE_CONFIG", &named));
        }
        Config::load(&Environment::of(&env))
    }

    fn problem(file: Option<&str>, env: &[(&str, &str)]) -> String {
        load(file, env).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn the_environment_comes_before_the_file_and_the_file_before_the_default() {
        let file = "[web]\nbind = \"127.0.0.1:9000\"\n[worker]\nslots = 7\n";
        let config = load(Some(file), &[("TIDEGATE_WORKER__SLOTS", "3")]).unwrap();
        assert_eq!(config.settings.worker.slots, 3);
        assert_eq!(config.settings.web.bind.map(|bind| bind.port()), Some(9000));
        assert_eq!(config.settings.worker.drain.as_secs(), 30);
    }

    #[test]
    fn an_unknown_key_and_a_wrong_type_are_errors_with_their_place() {
        let unknown = problem(Some("[web]\nbnd = \"127.0.0.1:1\"\n"), &[]);
        assert!(
            unknown.contains("line 2") && unknown.contains("bnd") && unknown.contains("bind"),
            "{unknown}"
        );
        let wrong = problem(Some("[worker]\n\nslots = \"many\"\n"), &[]);
        assert!(
            wrong.contains("line 3") && wrong.contains("invalid type"),
            "{wrong}"
        );
    }

    #[test]
    fn a_value_that_cannot_be_meant_is_blamed_on_where_it_stands() {
        let file = "[web]\n\n[worker]\nname = \"a\"\nslots = 0\n";
        let of_file = problem(Some(file), &[]);
        assert!(
            of_file.contains("tidegate.toml, line 5: worker.slots is too small")
                && !of_file.contains("TIDEGATE_"),
            "{of_file}"
        );
        let of_variable = problem(Some(file), &[("TIDEGATE_WORKER__SLOTS", "0")]);
        assert!(
            of_variable.contains("variable TIDEGATE_WORKER__SLOTS"),
            "{of_variable}"
        );
        let dotted = problem(Some("worker.slots = 3\nhttp.allow = [\"?\"]\n"), &[]);
        assert!(dotted.contains("line 2: http.allow"), "{dotted}");
        let channel = "[channels.ops]\nkind = \"slack\"\nurl_file = \"/nowhere\"\n";
        let channel = problem(Some(channel), &[]);
        assert!(channel.contains("line 1: channels.ops"), "{channel}");
    }

    #[test]
    fn a_problem_of_the_file_is_told_once() {
        let error = load(Some("[web]\nbnd = 1\n"), &[]).map(|_| ()).unwrap_err();
        let told = tidegate_engine::plugin::chain(&error);
        assert_eq!(told.matches("unknown field").count(), 1, "{told}");
    }

    #[test]
    fn a_variable_that_is_no_setting_is_named() {
        let unknown = problem(None, &[("TIDEGATE_WEB__PORT", "1")]);
        assert!(
            unknown.contains("TIDEGATE_WEB__PORT") && unknown.contains("unknown field"),
            "{unknown}"
        );
        let wrong = problem(None, &[("TIDEGATE_WORKER__SLOTS", "many")]);
        assert!(wrong.contains("TIDEGATE_WORKER__SLOTS"), "{wrong}");
        let near = problem(None, &[("TIDEGATE_WEB_BIND", "127.0.0.1:1")]);
        assert!(near.contains("TIDEGATE_WEB__BIND"), "{near}");
    }

    #[test]
    fn a_secret_may_lie_in_a_file_but_not_in_two_places() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        std::fs::write(&path, "postgres://here\n").unwrap();
        let path = path.display().to_string();
        let config = load(None, &[("DATABASE_URL_FILE", &path)]).unwrap();
        assert_eq!(config.settings.database.url.as_deref(), Some("postgres://here"));
        let both = problem(
            None,
            &[("DATABASE_URL_FILE", &path), ("DATABASE_URL", "postgres://there")],
        );
        assert!(both.contains("both"), "{both}");
    }

    #[test]
    fn plugins_see_their_services_and_what_is_named_and_nothing_else() {
        let config = load(
            None,
            &[
                ("MLFLOW_TRACKING_URI", "http://mlflow"),
                ("AWS_REGION", "eu-central-1"),
                ("DATABASE_URL", "postgres://secret"),
                ("HTTPS_PROXY", "http://proxy"),
                ("SHELL", "/bin/sh"),
                ("TIDEGATE_WORKER__ENV", "[\"HTTPS_PROXY\"]"),
            ],
        )
        .unwrap();
        let seen: Vec<&str> = config.for_plugins.keys().map(String::as_str).collect();
        assert_eq!(seen, ["AWS_REGION", "HTTPS_PROXY", "MLFLOW_TRACKING_URI"]);
    }
}
