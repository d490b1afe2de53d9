//! The catalogue: plugins by name, with their schemas, their types erased.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;

use super::{Ctx, Isolation, Objection, Plugin, Preview, TaskError};

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Descriptor {
    /// Name, as in `uses = "…"`.
    pub name: &'static str,
    /// Version of its behaviour.
    pub version: &'static str,
    /// One line: what it does.
    pub purpose: &'static str,
    /// Where it runs.
    pub isolation: Isolation,
    /// Freeze windows hold it back.
    pub guarded: bool,
    /// Its point is what it does: nothing of it is taken from a cache.
    pub acts: bool,
    /// JSON Schema (2020-12, no `$ref`) of `with`.
    pub input: Value,
    /// JSON Schema (2020-12, no `$ref`) of the outputs.
    pub output: Value,
}

/// A plugin with its types erased to JSON.
#[async_trait]
pub trait ErasedPlugin: Send + Sync {
    /// What it says of itself.
    fn descriptor(&self) -> &Descriptor;
    /// Decodes the input, runs, encodes the output.
    async fn run(&self, ctx: &Ctx, input: Value) -> Result<Value, TaskError>;
    /// Decodes the input and previews.
    async fn preview(&self, ctx: &Ctx, input: Value) -> Result<Preview, TaskError>;
    /// See [`Plugin::declared_outputs`].
    fn declared_outputs(&self, with: &Value) -> Vec<(String, Value)>;
    /// See [`Plugin::objections`].
    fn objections(&self, with: &Value) -> Vec<Objection>;
    /// See [`Plugin::idle_keys`].
    fn idle_keys(&self, with: &Value) -> Vec<Objection>;
    /// See [`Plugin::FOLDERS`].
    fn works_in_folders(&self) -> bool;
}

struct Erased<P> {
    plugin: P,
    descriptor: Descriptor,
}

fn schema_of<T: schemars::JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn decode<P: Plugin>(input: Value) -> Result<P::Input, TaskError> {
    serde_json::from_value(input)
        .map_err(|e| TaskError::fail(format_args!("the input does not fit plugin `{}`: {e}", P::NAME)))
}

#[async_trait]
impl<P: Plugin> ErasedPlugin for Erased<P> {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    async fn run(&self, ctx: &Ctx, input: Value) -> Result<Value, TaskError> {
        let output = self.plugin.run(ctx, decode::<P>(input)?).await?;
        serde_json::to_value(output)
            .map_err(|e| TaskError::fail(format_args!("the outputs are not valid JSON: {e}")))
    }

    async fn preview(&self, ctx: &Ctx, input: Value) -> Result<Preview, TaskError> {
        self.plugin.preview(ctx, decode::<P>(input)?).await
    }

    fn declared_outputs(&self, with: &Value) -> Vec<(String, Value)> {
        P::declared_outputs(with)
    }

    fn objections(&self, with: &Value) -> Vec<Objection> {
        P::objections(with)
    }

    fn idle_keys(&self, with: &Value) -> Vec<Objection> {
        P::idle_keys(with)
    }

    fn works_in_folders(&self) -> bool {
        P::FOLDERS
    }
}

/// All plugins this binary knows. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    plugins: BTreeMap<&'static str, Arc<dyn ErasedPlugin>>,
}

impl Registry {
    /// Adds a plugin. Panics when the name is taken: two plugins of one name are a mistake of the program.
    #[must_use]
    #[expect(
        clippy::panic,
        reason = "a name given twice is a mistake in the program, found at its first start"
    )]
    pub fn with<P: Plugin>(mut self, plugin: P) -> Self {
        let descriptor = Descriptor {
            name: P::NAME,
            version: P::VERSION,
            purpose: P::PURPOSE,
            isolation: P::ISOLATION,
            guarded: P::GUARDED,
            acts: P::ACTS,
            input: schema_of::<P::Input>(),
            output: schema_of::<P::Output>(),
        };
        if self
            .plugins
            .insert(P::NAME, Arc::new(Erased { plugin, descriptor }))
            .is_some()
        {
            panic!("BUG: two plugins are called `{}`", P::NAME);
        }
        self
    }

    /// The plugin of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn ErasedPlugin>> {
        self.plugins.get(name)
    }

    /// All plugins by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn ErasedPlugin>> {
        self.plugins.values()
    }
}
