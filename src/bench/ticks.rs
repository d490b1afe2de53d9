//! A thousand schedules that are due in one second, with three schedulers that all want to make their runs.

use std::time::Duration;

use anyhow::Result;
use tidegate_engine::clock;

use super::ground::until;
use super::measure::{Measured, Target};
use super::servers::{Counters, Servers, verb};
use super::{Ground, Options, shapes};

/// Past the minute, with something to spare.
const LIMIT: Duration = Duration::from_secs(90);

/// From the due instant to the last run.
pub async fn measure(ground: &Ground, options: &Options) -> Result<Measured> {
    let count = options.size(1_000);
    let files: Vec<(String, String)> = (0..count)
        .map(|number| format!("tick-{number}"))
        .map(|name| (name.clone(), shapes::every_minute(&name)))
        .collect();
    shapes::apply(ground, &files).await?;
    let mut servers = Servers::with_worker(ground, 4).await?;
    servers.start(ground, (&[], 4)).await?;
    servers.start(ground, (&[], 4)).await?;
    let (mut late, mut spent, mut twice) = (Vec::new(), Vec::new(), 0);
    for _ in 0..options.times().min(3) {
        let due: i64 = next_minute(ground).await?;
        let counters = Counters::read(ground, &servers).await?;
        let all = count as i64;
        until("a minute's ticks", LIMIT, async || {
            Ok(made(ground, due).await?.runs >= all)
        })
        .await?;
        let last = made(ground, due).await?;
        late.push(last.late);
        twice += last.runs - all;
        spent.push(counters.spent(ground, &servers).await?);
        clock::sleep(Duration::from_secs(3)).await;
    }
    servers.stop().await;
    std::fs::write(ground.folder.join("flows/none.toml"), shapes::chain("none", 1))?;
    for number in 0..count {
        std::fs::remove_file(ground.folder.join(format!("flows/tick-{number}.toml")))?;
    }
    verb(ground, &["apply", "flows", "--prune"]).await?;
    let what = "due instant to the last of 1,000 runs, 3 schedulers";
    let measured = Measured::new(("ticks", what), late, ("s", Target::AtMost(1.0)));
    Ok(measured
        .spending(&spent, count)
        .and(twice == 0, format!("{twice} made twice")))
}

struct Made {
    runs: i64,
    late: f64,
}

/// Seconds since 1970 of the next full minute.
async fn next_minute(ground: &Ground) -> Result<i64> {
    let minute =
        "select extract(epoch from date_trunc('minute', clock_timestamp() + interval '1 minute'))::bigint";
    Ok(sqlx::query_scalar(minute).fetch_one(ground.pool()).await?)
}

async fn made(ground: &Ground, due: i64) -> Result<Made> {
    // When a run exists, the table says by its commit; `created_at` is the instant at which its transaction began. The last of them
    // counts, and it is seen here a few milliseconds after it exists.
    let (runs, late): (i64, f64) = sqlx::query_as(
        "select count(*), extract(epoch from clock_timestamp())::float8 - $1::float8 from run
         where schedule is not null and scheduled_for = to_timestamp($1)",
    )
    .bind(due)
    .fetch_one(ground.pool())
    .await?;
    Ok(Made { runs, late })
}
