//! What was made of the same inputs before.

use std::time::Duration;

use serde_json::json;

use super::{Site, task};
use crate::graph::{CachePolicy, Task};
use crate::id::RunId;
use crate::state::run::RunState;

fn cached(name: &str, with: serde_json::Value, ttl: u64) -> Task {
    Task {
        cache: Some(CachePolicy {
            ttl: Duration::from_secs(ttl),
        }),
        ..task(name, &[], ("child", with))
    }
}

impl Site {
    async fn reason(&self, run: RunId) -> Option<String> {
        sqlx::query_scalar("select reason from task_run where run = $1 and idx = 0")
            .bind(run.0)
            .fetch_one(self.store.pool())
            .await
            .unwrap()
    }

    async fn once(&self) -> (RunId, Option<String>) {
        let run = self.start().await;
        assert_eq!(self.end(run).await, RunState::Succeeded);
        (run, self.reason(run).await)
    }
}

#[tokio::test]
async fn a_hit_brings_outputs_and_artifacts_and_is_none_when_its_files_are_gone() {
    let site = Site::with(vec![cached("tell", json!({"act": "tell"}), 3_600)]).await;
    let (first, reason) = site.once().await;
    assert_eq!(reason, None);
    let (second, reason) = site.once().await;
    assert_eq!(reason.as_deref(), Some("cached"));
    assert_eq!(site.outputs(second, 0).await, site.outputs(first, 0).await);
    let shown = site
        .store
        .run(second, crate::clock::now())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(shown.tasks[0].cached_from, Some(first.0));
    assert_eq!(
        shown.tasks[0].artifacts.len(),
        1,
        "its artifact is this run's too"
    );
    assert_eq!(site.store.audit().await.unwrap(), []);
    let path = shown.tasks[0].artifacts[0]
        .uri
        .strip_prefix("file://")
        .unwrap()
        .to_owned();
    std::fs::remove_file(&path).unwrap();
    let (_, reason) = site.once().await;
    assert_eq!(reason, None, "the file is gone, so it is made anew");
    // The auditor, which asks for it, reads the first runs' file too.
    std::fs::write(&path, "weights").unwrap();
    site.close().await;
}

#[tokio::test]
async fn what_is_too_old_or_another_input_is_no_hit() {
    let site = Site::with(vec![cached(
        "echo",
        json!({"act": "echo", "text": "{{ params.name }}"}),
        60,
    )])
    .await;
    assert_eq!(site.once().await.1, None);
    assert_eq!(site.once().await.1.as_deref(), Some("cached"));
    sqlx::query("update cache set at = at - interval '61 seconds'")
        .execute(site.store.pool())
        .await
        .unwrap();
    assert_eq!(site.once().await.1, None);
    assert_eq!(site.store.audit().await.unwrap(), []);
    site.close().await;
}
