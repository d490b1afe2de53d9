//! What a task costs that is a program, beside the program.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tidegate_engine::clock;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::ground::until;
use super::measure::{Measured, Target, ms};
use super::servers::{Counters, Servers};
use super::{Ground, Options, shapes};

const LIMIT: Duration = Duration::from_secs(60);
/// Programs at once.
const AT_ONCE: usize = 10;
/// A program that does nothing but take its time.
const PROGRAM: [&str; 2] = ["/bin/sleep", "0.1"];

/// The time that our way adds to a program.
pub async fn measure(ground: &Ground, options: &Options) -> Result<Measured> {
    let count = options.size(40).max(AT_ONCE);
    let flow = shapes::programs("programs", count, &PROGRAM);
    shapes::apply(ground, &[("programs".to_owned(), flow)]).await?;
    let servers = Servers::with_worker(ground, AT_ONCE as u32).await?;
    let (mut costs, mut spent) = (Vec::new(), Vec::new());
    for _ in 0..options.times() {
        let bare = xargs(count).await?;
        let counters = Counters::read(ground, &servers).await?;
        let begun = clock::monotonic();
        servers.trigger("programs").await?;
        until("the programs", LIMIT, async || {
            let open =
                sqlx::query_scalar::<_, i64>("select count(*) from active_run").fetch_one(ground.pool());
            Ok(open.await? == 0)
        })
        .await?;
        costs.push((ms(begun.elapsed()) - ms(bare)) / count as f64);
        spent.push(counters.spent(ground, &servers).await?);
    }
    servers.stop().await;
    let failed: i64 =
        sqlx::query_scalar("select count(*) from run where flow = 'programs' and state <> 'succeeded'")
            .fetch_one(ground.pool())
            .await?;
    if failed > 0 {
        bail!("{failed} runs of programs did not succeed");
    }
    let what = "a program, over `xargs -P10`";
    let measured = Measured::new(("programs", what), costs, ("ms", Target::AtMost(5.0)));
    Ok(measured.spending(&spent, count).in_processes())
}

async fn xargs(count: usize) -> Result<Duration> {
    let begun = clock::monotonic();
    let mut child = Command::new("xargs")
        .args([
            "-n1",
            "-P",
            &AT_ONCE.to_string(),
            "/bin/sh",
            "-c",
            &format!("exec {}", PROGRAM.join(" ")),
        ])
        .stdin(Stdio::piped())
        .spawn()
        .context("there is no `xargs` to compare with")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all("x\n".repeat(count).as_bytes()).await?;
    }
    child.wait().await?;
    Ok(begun.elapsed())
}
