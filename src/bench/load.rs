//! Runs over HTTP: wide, long, many, and one at a time.

use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use tidegate_engine::clock;

use super::counter::Counter;
use super::ground::until;
use super::measure::{Measured, Spent, Target, ms, percentile};
use super::servers::{Counters, Servers};
use super::{Floor, Ground, Options, shapes};

const LIMIT: Duration = Duration::from_secs(120);
/// Connections that POST the many runs.
const CONNECTIONS: usize = 20;

type With<'a> = (&'a Ground, &'a Options, &'a Floor);

/// How long it took, and what was spent.
struct Timed {
    took: Vec<Duration>,
    spent: Vec<Spent>,
}

/// A wide run.
pub async fn fan_out((ground, options, floor): With<'_>) -> Result<Measured> {
    let width = options.size(10_000);
    shapes::apply(ground, &[("wide".to_owned(), shapes::fan_out("wide", width))]).await?;
    let timed = several((ground, options), ("wide", 1)).await?;
    let rate = |took: &Duration| (width + 1) as f64 / took.as_secs_f64();
    let rates: Vec<f64> = timed.took.iter().map(rate).collect();
    let share = percentile(&rates, 50.0) / floor.batched.rows_per_second;
    let what = "10,000 tasks and a join, events included";
    let measured = Measured::new(("fan-out", what), rates, ("tasks/s", Target::AtLeast(20_000.0)));
    let words = format!("{share:.2} of the batched floor (≥ 0.33)");
    Ok(measured
        .spending(&timed.spent, width + 1)
        .and(share >= 1.0 / 3.0, words))
}

/// A long run.
pub async fn chain((ground, options, floor): With<'_>) -> Result<Measured> {
    let length = options.size(1_000);
    shapes::apply(ground, &[("long".to_owned(), shapes::chain("long", length))]).await?;
    let timed = several((ground, options), ("long", 1)).await?;
    let steps: Vec<f64> = timed.took.iter().map(|took| ms(*took) / length as f64).collect();
    let floor_step = 1e3 / floor.one_commit.rows_per_second;
    let ratio = percentile(&steps, 50.0) / floor_step;
    let measured = Measured::new(("chain", "a step"), steps, ("ms", Target::AtMost(1.0)));
    let measured = measured.spending(&timed.spent, length);
    let commits = measured
        .spent
        .map_or(0.0, |spent| spent.commits as f64 / length as f64);
    let words = format!("{commits:.2} commits a step (≤ 2)");
    let measured = measured.and(commits <= 2.0, words);
    Ok(measured.and(true, format!("{ratio:.1} × the floor of one commit")))
}

/// Many short runs at once.
pub async fn many_runs((ground, options, _): With<'_>) -> Result<Measured> {
    let runs = options.size(200);
    shapes::apply(ground, &[("short".to_owned(), shapes::chain("short", 3))]).await?;
    let timed = several((ground, options), ("short", runs)).await?;
    let seconds = timed.took.iter().map(Duration::as_secs_f64).collect();
    let what = "200 POSTs on 20 connections to the last run's end";
    let measured = Measured::new(("runs", what), seconds, ("s", Target::AtMost(0.25)));
    Ok(measured.spending(&timed.spent, runs * 3))
}

/// Brings runs of a flow to their end, as often as the options say, after once that does not count.
async fn several((ground, options): (&Ground, &Options), (flow, runs): (&str, usize)) -> Result<Timed> {
    let servers = Servers::with_worker(ground, 4).await?;
    let mut timed = Timed {
        took: Vec::new(),
        spent: Vec::new(),
    };
    for time in 0..=options.times() {
        let counters = Counters::read(ground, &servers).await?;
        let took = all_at_once((ground, &servers), (flow, runs)).await?;
        let spent = counters.spent(ground, &servers).await?;
        if time > 0 || options.quick {
            timed.took.push(took);
            timed.spent.push(spent);
        }
        calm(ground).await?;
    }
    servers.stop().await;
    let trips = round_trips(ground, (flow, runs)).await?;
    if let Some(first) = timed.spent.first_mut() {
        first.round_trips = Some(trips);
    }
    Ok(timed)
}

/// Once more, by way of somebody who counts.
async fn round_trips(ground: &Ground, (flow, runs): (&str, usize)) -> Result<u64> {
    let counter = Counter::start(&ground.url).await?;
    let servers = Servers::by_way_of(ground, &counter.url).await?;
    all_at_once((ground, &servers), (flow, runs)).await?;
    calm(ground).await?;
    let before = counter.count();
    all_at_once((ground, &servers), (flow, runs)).await?;
    let trips = counter.count() - before;
    servers.stop().await;
    Ok(trips)
}

/// Triggers runs; answers how long it took until all were over.
async fn all_at_once(
    (ground, servers): (&Ground, &Servers),
    (flow, runs): (&str, usize),
) -> Result<Duration> {
    let all = ended(ground, flow).await? + runs;
    let begun = clock::monotonic();
    let posts = async {
        let posts = futures::stream::iter(0..runs).map(|_| servers.trigger(flow));
        let done: Vec<Result<()>> = posts.buffer_unordered(CONNECTIONS).collect().await;
        done.into_iter().collect::<Result<()>>()
    };
    let over = async {
        until("a run", LIMIT, async || Ok(ended(ground, flow).await? == all)).await?;
        Ok(begun.elapsed())
    };
    let ((), took) = tokio::try_join!(posts, over)?;
    Ok(took)
}

async fn ended(ground: &Ground, flow: &str) -> Result<usize> {
    let count: i64 =
        sqlx::query_scalar("select count(*) from run where flow = $1 and finished_at is not null")
            .bind(flow)
            .fetch_one(ground.pool())
            .await?;
    Ok(count as usize)
}

/// Lets what the last time left behind be written and cleaned, so that the next pays for itself only.
async fn calm(ground: &Ground) -> Result<()> {
    let mut conn = ground.connect().await?;
    sqlx::raw_sql("vacuum analyze ready, lease, task_run, run, active_run")
        .execute(&mut conn)
        .await?;
    clock::sleep(Duration::from_millis(100)).await;
    Ok(())
}

/// One run at a time, on servers that have nothing else to do.
pub async fn trigger((ground, options): (&Ground, &Options), apart: bool) -> Result<Vec<Measured>> {
    shapes::apply(ground, &[("single".to_owned(), shapes::chain("single", 1))]).await?;
    let (name, servers) = if apart {
        ("trigger-apart", Servers::with_worker_apart(ground).await?)
    } else {
        ("trigger", Servers::with_worker(ground, 4).await?)
    };
    let mut latencies = Vec::new();
    for number in 0..options.size(300) + 10 {
        let took = ms(once(ground, &servers).await?);
        // The first ones open connections.
        if number >= 10 || options.quick {
            latencies.push(took);
        }
        clock::sleep(Duration::from_millis(25)).await;
    }
    servers.stop().await;
    let tail = percentile(&latencies, 99.0);
    let p50 = ("ms", Target::AtMost(5.0));
    let p50 = Measured::new((name, "p50, POST to the task's report"), latencies, p50);
    let p99 = ("ms", Target::AtMost(20.0));
    let p99 = Measured::new((name, "p99, POST to the task's report"), vec![tail], p99);
    Ok(vec![p50, p99])
}

/// From the POST to when the worker had its first task behind it; the task's first instruction came before that.
async fn once(ground: &Ground, servers: &Servers) -> Result<Duration> {
    let before = ended(ground, "single").await?;
    let begun = clock::now();
    servers.trigger("single").await?;
    until("a run", LIMIT, async || {
        Ok(ended(ground, "single").await? > before)
    })
    .await?;
    let at: f64 = sqlx::query_scalar(
        "select extract(epoch from t.finished_at)::float8 from run r join task_run t on t.run = r.id
         where r.flow = 'single' order by r.id desc limit 1",
    )
    .fetch_one(ground.pool())
    .await?;
    let begun = begun.as_microsecond() as f64 / 1e6;
    Ok(Duration::from_secs_f64((at - begun).max(0.0)))
}
