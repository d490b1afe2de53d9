//! A flow file of ten thousand tasks.

use std::time::Duration;

use anyhow::Result;
use tidegate_engine::clock;

use super::measure::{Measured, Target};
use super::servers::{Servers, program, verb};
use super::{Ground, Options, shapes};

/// Checked; and applied, with its run created.
pub async fn measure(ground: &Ground, options: &Options) -> Result<Vec<Measured>> {
    let width = options.size(10_000);
    let file = ground.folder.join("big.toml");
    let (mut checks, mut applies) = (Vec::new(), Vec::new());
    // Without a worker: the run is created, and that is all.
    let servers = Servers::without_worker(ground).await?;
    for time in 0..options.times() {
        // Another text each time: what is unchanged costs nothing.
        let text = format!("# {time}\n{}", shapes::fan_out("big", width));
        std::fs::write(&file, text)?;
        checks.push(verb(ground, &["check", "big.toml"]).await?.as_secs_f64());
        let begun = clock::monotonic();
        verb(ground, &["apply", "big.toml"]).await?;
        servers.trigger("big").await?;
        applies.push(begun.elapsed().as_secs_f64());
    }
    finish(ground).await?;
    servers.stop().await;
    Ok(vec![
        Measured::new(
            ("flow-file", "10,000 tasks checked"),
            checks,
            ("s", Target::AtMost(0.5)),
        ),
        Measured::new(
            ("flow-file", "applied, and its run created"),
            applies,
            ("s", Target::AtMost(1.0)),
        ),
    ])
}

/// Cancels what was created, so that no later workload runs it.
async fn finish(ground: &Ground) -> Result<()> {
    let runs: Vec<uuid::Uuid> = sqlx::query_scalar("select run from active_run")
        .fetch_all(ground.pool())
        .await?;
    for run in runs {
        program(ground, &["cancel", &run.to_string()]).output().await?;
    }
    clock::sleep(Duration::from_millis(100)).await;
    Ok(())
}
