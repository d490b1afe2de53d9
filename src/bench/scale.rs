//! What a long history costs: the same questions to a database of a thousand runs and, when it has grown, of half a million.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use tidegate_engine::clock;
use tidegate_engine::store::claim::{Claimer, Crowded};
use uuid::Uuid;

use super::ground::until;
use super::history::{self, Length};
use super::measure::{Measured, Target, ms, percentile};
use super::servers::{Servers, verb};
use super::{Ground, Options, shapes};

/// The flow whose history it is.
const FLOW: &str = "history";
/// Its tasks.
const TASKS: usize = 10;
/// Runs of the small database.
const FEW: usize = 1_000;
/// Runs of the large one: five million task runs.
const MANY: usize = 500_000;
/// How often each question is asked.
const TIMES: usize = 300;
/// The newest thousand, which are there in both databases, and any: of those most lie where no memory holds them.
const LATELY: &str =
    "select id from (select id from run where finished_at is not null order by id desc limit 1000) r
     order by random() limit $1";
const EVER: &str = "select id from run where finished_at is not null order by random() limit $1";
/// The first claims open connections and plan.
const WARM: usize = 10;
/// What is kept of the history when it is pruned.
const KEPT: &str = "45d";
const LIMIT: Duration = Duration::from_secs(60);

/// Milliseconds that 95 of 100 answers stay below.
struct Answers {
    claim: f64,
    list: f64,
    page: f64,
    old_page: f64,
}

/// Fills the database, asks, fills it more, asks again, and prunes.
pub async fn measure((ground, options): (&Ground, &Options), told: impl Fn(&str)) -> Result<Vec<Measured>> {
    let file = shapes::chain(FLOW, TASKS);
    shapes::apply(ground, &[(FLOW.to_owned(), file)]).await?;
    let servers = Servers::with_worker(ground, 4).await?;
    servers.trigger(FLOW).await?;
    until("the first run", LIMIT, async || is_over(ground, FLOW).await).await?;
    servers.stop().await;

    let few = options.size(FEW);
    history::write(ground, FLOW, Length { runs: few, lines: 4 }).await?;
    let small = ask((ground, options)).await?;
    let runs = options.size(MANY) - few;
    let lines = options.lines / (MANY * TASKS);
    told(&format!(
        "scale: {runs} more runs, {} log lines; this takes minutes",
        runs * TASKS * lines
    ));
    history::write(ground, FLOW, Length { runs, lines }).await?;
    told("scale: the same questions, then a prune beside new runs");
    let large = ask((ground, options)).await?;
    let mut measured = vec![
        grown(("scale-claim", "p95 of a claim"), small.claim, large.claim),
        grown(("scale-list", "p95 of a list of runs"), small.list, large.list),
        grown(("scale-page", "p95 of a run's page"), small.page, large.page),
    ];
    if let [first, _, page] = measured.as_mut_slice() {
        first.notes.push(size(ground).await?);
        page.notes
            .push(format!("{:.2} ms of any run, however old", large.old_page));
    }
    measured.push(prune(ground).await?);
    Ok(measured)
}

/// What the large database may cost more.
fn grown(name: (&'static str, &str), small: f64, large: f64) -> Measured {
    let most = small * 1.1 + 1.0;
    Measured::new(
        name,
        vec![large],
        ("ms", Target::AtMost((most * 100.0).round() / 100.0)),
    )
    .and(true, format!("{small:.2} ms with 1,000 runs"))
}

async fn ask((ground, options): (&Ground, &Options)) -> Result<Answers> {
    let servers = Servers::without_worker(ground).await?;
    let (mut lists, mut pages, mut olds, mut claims) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let times = if options.quick { 5 } else { TIMES };
    for (recent, any) in some_runs(ground, LATELY)
        .await?
        .iter()
        .zip(some_runs(ground, EVER).await?)
        .take(times)
    {
        lists.push(get(&servers, "/api/v1/runs?state=succeeded").await?);
        lists.push(get(&servers, &format!("/api/v1/runs?flow={FLOW}")).await?);
        pages.push(get(&servers, &format!("/runs/{recent}")).await?);
        olds.push(get(&servers, &format!("/runs/{any}")).await?);
    }
    for number in 0..times + WARM {
        servers.trigger(FLOW).await?;
        let took = claim(ground).await?;
        if number >= WARM {
            claims.push(took);
        }
    }
    servers.stop().await;
    forget_claims(ground).await?;
    Ok(Answers {
        claim: percentile(&claims, 95.0),
        list: percentile(&lists, 95.0),
        page: percentile(&pages, 95.0),
        old_page: percentile(&olds, 95.0),
    })
}

async fn some_runs(ground: &Ground, which: &'static str) -> Result<Vec<Uuid>> {
    let some = sqlx::query_scalar(which).bind(TIMES as i64);
    Ok(some.fetch_all(ground.pool()).await?)
}

async fn get(servers: &Servers, path: &str) -> Result<f64> {
    let begun = clock::monotonic();
    let (status, body) = servers.get(path).await?;
    let took = ms(begun.elapsed());
    ensure!(status == StatusCode::OK, "{path}: {status} {body}");
    Ok(took)
}

/// One claim of one task run, as a worker makes it.
async fn claim(ground: &Ground) -> Result<f64> {
    let claimer = Claimer {
        worker: clock::new_id(),
        queues: vec!["default".to_owned()],
        slots: 1,
        light: 1,
        crowded: Crowded::default(),
    };
    let begun = clock::monotonic();
    let claims = ground.store().claim(claimer, clock::now()).await?;
    let took = ms(begun.elapsed());
    claims.first().context("there was nothing to claim")?;
    Ok(took)
}

/// Nobody works on what was claimed: it goes, with its runs, before their leases end.
async fn forget_claims(ground: &Ground) -> Result<()> {
    sqlx::raw_sql(
        "create temp table gone as select run from active_run;
         delete from lease; delete from ready; delete from active_run;
         delete from task_output where run in (select run from gone);
         delete from task_run where run in (select run from gone);
         delete from run where id in (select run from gone);
         drop table gone",
    )
    .execute(&mut ground.connect().await?)
    .await?;
    Ok(())
}

/// Drops half the history; the longest that anybody's new run waited for its end meanwhile is what it costs.
async fn prune(ground: &Ground) -> Result<Measured> {
    shapes::apply(ground, &[("single".to_owned(), shapes::chain("single", 1))]).await?;
    let servers = Servers::with_worker(ground, 4).await?;
    let before = partitions(ground).await?;
    let mut longest = 0.0_f64;
    let mut others = 0;
    let pruning = verb(ground, &["db", "prune", "--keep", KEPT]);
    tokio::pin!(pruning);
    let took = loop {
        tokio::select! {
            done = &mut pruning => break done?,
            waited = beside(ground, &servers) => {
                longest = longest.max(waited?);
                others += 1;
            }
        }
    };
    servers.stop().await;
    let dropped = before - partitions(ground).await?;
    let what = "longest run of one task beside a prune";
    let measured = Measured::new(
        ("scale-prune", what),
        vec![longest],
        ("ms", Target::AtMost(500.0)),
    );
    let words = format!(
        "{dropped} partitions dropped in {:.1} s, {others} runs beside it",
        took.as_secs_f64()
    );
    Ok(measured.and(dropped > 0, words))
}

/// A run of one task, from its POST to its end.
async fn beside(ground: &Ground, servers: &Servers) -> Result<f64> {
    let begun = clock::monotonic();
    servers.trigger("single").await?;
    until("a run beside the prune", LIMIT, async || {
        is_over(ground, "single").await
    })
    .await?;
    Ok(ms(begun.elapsed()))
}

/// Whether the newest run of a flow is over.
async fn is_over(ground: &Ground, flow: &str) -> Result<bool> {
    let newest = "select finished_at is not null from run where flow = $1 order by id desc limit 1";
    Ok(sqlx::query_scalar(newest)
        .bind(flow)
        .fetch_one(ground.pool())
        .await?)
}

async fn partitions(ground: &Ground) -> Result<i64> {
    let count = "select count(*) from pg_class where relkind = 'r' and relname ~ '^(event|log)_[0-9]{8}$'";
    Ok(sqlx::query_scalar(count).fetch_one(ground.pool()).await?)
}

async fn size(ground: &Ground) -> Result<String> {
    Ok(sqlx::query_scalar(
        "select format('%s task runs, %s', (select sum(reltuples)::bigint from pg_class where relname = 'task_run'),
           pg_size_pretty(pg_database_size(current_database())))",
    )
    .fetch_one(ground.pool())
    .await?)
}
