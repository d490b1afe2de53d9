//! What it costs while nothing happens.

use std::time::Duration;

use anyhow::{Context, Result};
use tidegate_engine::clock;

use super::measure::{Measured, Target};
use super::servers::{Servers, cpu, memory};
use super::{Ground, Options, shapes};

/// PostgreSQL's counters lag behind by up to this.
const LAG: Duration = Duration::from_secs(11);

/// Memory, processor and transactions of a process with all roles.
pub async fn measure(ground: &Ground, options: &Options) -> Result<Vec<Measured>> {
    let files: Vec<(String, String)> = (0..options.size(100))
        .map(|number| format!("idle-{number}"))
        .map(|name| (name.clone(), shapes::every_year(&name)))
        .collect();
    shapes::apply(ground, &files).await?;
    let time = Duration::from_secs(if options.quick { 1 } else { 60 });
    let lag = if options.quick { Duration::ZERO } else { LAG };
    clock::sleep(lag).await;
    let control = transactions(ground, time).await?;
    let servers = Servers::with_worker(ground, 4).await?;
    clock::sleep(lag).await;
    let pid = *servers.pids().first().context("no server")?;
    let before = cpu(pid).context("no server")?;
    let busy = transactions(ground, time).await?;
    let share = (cpu(pid).context("no server")? - before) / time.as_secs_f64() * 100.0;
    let resident = memory(pid).context("no server")?;
    servers.stop().await;
    let own = (busy - control).max(0.0);
    Ok(vec![
        Measured::new(
            ("idle", "resident memory"),
            vec![resident],
            ("MB", Target::AtMost(40.0)),
        ),
        Measured::new(
            ("idle", "of a processor"),
            vec![share],
            ("%", Target::AtMost(0.5)),
        ),
        Measured::new(("idle", "transactions"), vec![own], ("/s", Target::AtMost(3.0)))
            .and(true, format!("{control:.2}/s without it")),
    ])
}

/// Transactions of this database, a second.
async fn transactions(ground: &Ground, time: Duration) -> Result<f64> {
    let count = || {
        sqlx::query_scalar::<_, i64>(
            "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()",
        )
        .fetch_one(ground.pool())
    };
    let before = count().await?;
    clock::sleep(time).await;
    Ok((count().await? - before) as f64 / time.as_secs_f64())
}
