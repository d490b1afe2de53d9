//! How soon `dev` is ready.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tidegate_engine::clock;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::measure::{Measured, Target};
use super::servers::program;
use super::{Ground, Options, shapes};

/// From an existing home, and from an empty one.
pub async fn measure(ground: &Ground, options: &Options) -> Result<Vec<Measured>> {
    let flows = ground.folder.join("dev-flows");
    std::fs::create_dir_all(&flows)?;
    std::fs::write(flows.join("one.toml"), shapes::chain("one", 1))?;
    let (mut existing, mut empty) = (Vec::new(), Vec::new());
    for time in 0..options.times().min(3) {
        let home = ground.folder.join(format!("dev-{time}"));
        empty.push(start(ground, &home).await?.as_secs_f64());
        existing.push(start(ground, &home).await?.as_secs_f64());
        let _ = std::fs::remove_dir_all(&home);
    }
    Ok(vec![
        Measured::new(
            ("start", "`dev` on an existing home"),
            existing,
            ("s", Target::AtMost(0.8)),
        ),
        Measured::new(
            ("start", "`dev` on an empty home"),
            empty,
            ("s", Target::AtMost(4.0)),
        ),
    ])
}

async fn start(ground: &Ground, home: &std::path::Path) -> Result<Duration> {
    let begun = clock::monotonic();
    let mut dev = program(ground, &["dev", "dev-flows"])
        .env_remove("DATABASE_URL")
        .env("TIDEGATE_HOME", home)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let said = dev.stderr.take().context("no standard error")?;
    let mut lines = BufReader::new(said).lines();
    let mut last = String::new();
    let ready = loop {
        let Some(line) = lines.next_line().await? else {
            bail!("`dev` ended before it was ready: {last}");
        };
        if line.contains("is up at") {
            break begun.elapsed();
        }
        last = line;
    };
    if let Some(pid) = dev.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        kill_process(pid, Signal::TERM)?;
    }
    dev.wait().await?;
    Ok(ready)
}
