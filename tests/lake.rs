//! The events that the nightly retrain learns from in these tests: those of `tidegate demo`.

use std::collections::BTreeMap;
use std::path::Path;

use tidegate_engine::clock;
use tidegate_flows::demo::write_lake;

/// The flow that these tests run.
pub const PLAYBOOK: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/flows/playbook/train-ranking-model.toml"
);

/// Writes the lake into a folder; answers its address.
pub async fn on_disk(folder: &Path) -> String {
    let root = format!("file://{}", folder.join("lake").display());
    write_lake(&root, clock::now(), &BTreeMap::new()).await.unwrap();
    root
}

/// The same at `root` of an S3 server, which `env` leads to.
pub async fn on_s3(root: &str, env: &[(&'static str, String)]) {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    write_lake(root, clock::now(), &env).await.unwrap();
}
