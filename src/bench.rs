//! The workloads of the performance table, each against real processes of this program and a PostgreSQL that keeps what it says.
//!
//! Nothing here reaches into the engine: a workload starts `tidegate server` and `tidegate worker` as anybody would, speaks HTTP with
//! them, and reads from the tables when a run ended. What a server is worth is told by [`floor`]: the statements that any
//! durable engine has to make, made by a program that does nothing else, on the same server in the same minute.

mod counter;
mod files;
mod floor;
mod ground;
mod history;
mod idle;
mod load;
mod measure;
mod programs;
mod scale;
mod servers;
mod shapes;
mod starts;
mod ticks;

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use floor::Floor;
pub use ground::Ground;
pub use measure::{Measured, Verdict};

/// What is measured, and how often.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where its folder is made, and removed.
    pub home: PathBuf,
    /// A database server of somebody's; otherwise a private one is made and removed.
    pub database: Option<String>,
    /// Folder of PostgreSQL's programs, and `PATH`, for a private one.
    pub postgres: (Option<PathBuf>, Option<String>),
    /// Only workloads whose name contains this.
    pub only: Option<String>,
    /// A hundredth of the size, once: to see that it works, not how fast.
    pub quick: bool,
    /// Only what a long history costs, with about so many log lines in it.
    pub scale: bool,
    /// See `scale`.
    pub lines: usize,
}

impl Options {
    /// How often a workload is measured.
    fn times(&self) -> usize {
        if self.quick { 1 } else { 5 }
    }

    /// A size, or a hundredth of it.
    fn size(&self, full: usize) -> usize {
        if self.quick { (full / 100).max(2) } else { full }
    }
}

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The machine and its PostgreSQL.
    pub machine: ground::Machine,
    /// What the same statements cost a program that does nothing else.
    pub floor: Floor,
    /// The workloads, in the order of the table.
    pub workloads: Vec<Measured>,
}

/// A workload: its name, and what it is in a few words.
struct Workload {
    name: &'static str,
    about: &'static str,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "fan-out",
        about: "10,000 no-op tasks and a join in one run, from the POST to the run's end",
    },
    Workload {
        name: "chain",
        about: "1,000 no-op tasks one after another, a step",
    },
    Workload {
        name: "runs",
        about: "200 runs of 3 tasks, POSTed on 20 connections, to the last one's end",
    },
    Workload {
        name: "trigger",
        about: "POST to the task's report on an idle server with a worker",
    },
    Workload {
        name: "trigger-apart",
        about: "the same with the worker in a process of its own",
    },
    Workload {
        name: "ticks",
        about: "1,000 schedules due in one second, from then to the last run; 3 schedulers",
    },
    Workload {
        name: "programs",
        about: "40 `command` tasks, 10 in parallel, over `xargs -P10`, a task",
    },
    Workload {
        name: "idle",
        about: "server, worker and pages in one process with 100 schedules",
    },
    Workload {
        name: "flow-file",
        about: "a flow file of 10,000 tasks: checked, and applied with its run created",
    },
    Workload {
        name: "start",
        about: "`dev` to ready, from an existing home and from an empty one",
    },
];

/// The names of the workloads, where none contains `only`.
pub fn others_than(only: &str) -> Option<Vec<&'static str>> {
    let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
    let known = names.iter().any(|name| name.contains(only));
    (!known).then_some(names)
}

/// Measures what the options ask for; `told` is told what comes next. `None`: it was stopped, and nothing is left of it.
pub async fn run(options: &Options, stop: &CancellationToken, told: impl Fn(&str)) -> Result<Option<Report>> {
    let only = options.only.as_deref().unwrap_or_default();
    let asked = |w: &&Workload| !options.scale && w.name.contains(only);
    let chosen: Vec<&Workload> = WORKLOADS.iter().filter(asked).collect();
    told("a database");
    let ground = Ground::open(options).await?;
    let measuring = measure_all(&ground, (options, chosen.as_slice()), told);
    let measured = stop.run_until_cancelled(measuring).await.transpose();
    ground.close().await;
    measured
}

async fn measure_all(
    ground: &Ground,
    (options, chosen): (&Options, &[&Workload]),
    told: impl Fn(&str),
) -> Result<Report> {
    let machine = ground.machine().await?;
    told("the floor: insert, claim, finish and event by a program that does nothing else");
    let floor = floor::measure(ground, options).await?;
    let mut workloads = Vec::new();
    if options.scale {
        told("scale: a database of 1,000 runs");
        workloads = scale::measure((ground, options), &told).await?;
    }
    for workload in chosen {
        told(&format!("{}: {}", workload.name, workload.about));
        workloads.extend(one(workload.name, (ground, options, &floor)).await?);
    }
    Ok(Report {
        machine,
        floor,
        workloads,
    })
}

async fn one(name: &str, with: (&Ground, &Options, &Floor)) -> Result<Vec<Measured>> {
    let (ground, options, _) = with;
    Ok(match name {
        "fan-out" => vec![load::fan_out(with).await?],
        "chain" => vec![load::chain(with).await?],
        "runs" => vec![load::many_runs(with).await?],
        "trigger" => load::trigger((ground, options), false).await?,
        "trigger-apart" => load::trigger((ground, options), true).await?,
        "ticks" => vec![ticks::measure(ground, options).await?],
        "programs" => vec![programs::measure(ground, options).await?],
        "idle" => idle::measure(ground, options).await?,
        "flow-file" => files::measure(ground, options).await?,
        _ => starts::measure(ground, options).await?,
    })
}
