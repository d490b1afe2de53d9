//! `tidegate bench`: how fast it is, here.

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Ended, Output, Session, say_json};
use crate::bench::{self, Floor, Measured, Options, Verdict};
use crate::failure::{Failure, code};
use crate::roles::{ENDING, step, stop_on_signal};
use crate::term::{Cell, Style, Table, say};

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Only the workloads whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// A hundredth of the size, once: whether it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Only what a history of five million task runs costs; takes a quarter of an hour and some 15 GB
    #[arg(long, conflicts_with = "only")]
    scale: bool,
    /// Log lines in that history
    #[arg(long, requires = "scale", default_value_t = 20_000_000, value_name = "N")]
    lines: usize,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Measures, and shows; 1 when a target is missed.
pub async fn run(args: Bench, session: &Session) -> Ended {
    let config = session.config()?;
    if let Some(only) = &args.only
        && let Some(names) = bench::others_than(only)
    {
        return Err(Failure::usage(format!("no workload is called `{only}`"))
            .help(format!("there are {}", names.join(", "))));
    }
    let options = Options {
        home: config.home.clone(),
        database: config.settings.database.url.clone(),
        postgres: (config.settings.postgres.bin.clone(), config.path.clone()),
        only: args.only,
        quick: args.quick,
        scale: args.scale,
        lines: args.lines,
    };
    let stop = CancellationToken::new();
    stop_on_signal(&stop, ENDING)?;
    let report = bench::run(&options, &stop, |what| step(&format!("measuring {what}"))).await;
    let report = report.map_err(|error| Failure::new(code::FAILED, format!("{error:#}")))?;
    let Some(report) = report else {
        return Ok(code::INTERRUPTED);
    };
    let missed = report.workloads.iter().any(|w| w.verdict == Verdict::Missed);
    match args.output {
        Output::Json => drop(say_json(&report)?),
        Output::Table => {
            let machine = &report.machine;
            say(&format!(
                "{} processors, load {}, PostgreSQL {}, fdatasync {:.2} ms, {} build\n",
                machine.cores, machine.load, machine.postgres, machine.fdatasync_ms, machine.build
            ));
            show_floor(&report.floor);
            show(&report.workloads, session);
        }
    }
    Ok(if missed && !args.quick {
        code::FAILED
    } else {
        code::DONE
    })
}

fn show_floor(floor: &Floor) {
    say(&format!(
        "floor, rows/s: two commits a row {:.0}, one {:.0}, 50 rows a commit {:.0}\n\n",
        floor.two_commits.rows_per_second, floor.one_commit.rows_per_second, floor.batched.rows_per_second
    ));
}

fn show(workloads: &[Measured], session: &Session) {
    let headings = [
        "WORKLOAD", "MEDIAN", "TARGET", "", "TASKS", "COMMITS", "TRIPS", "OWN CPU", "PG CPU", "NOTES",
    ];
    let mut table = Table::new(&headings, 9);
    for measured in workloads {
        let (met, style) = match measured.verdict {
            Verdict::Met => ("met", Style::Green),
            Verdict::Missed => ("missed", Style::Red),
        };
        let spent = measured.spent;
        let seconds = |seconds: f64| format!("{seconds:.2} s");
        let postgres = spent.and_then(|s| s.postgres_cpu).map(seconds);
        let notes = [std::slice::from_ref(&measured.what), measured.notes.as_slice()].concat();
        table.row(vec![
            Cell::styled(measured.name, Style::Bold),
            Cell::new(format!("{:.2} {}", measured.median, measured.unit)),
            Cell::new(&measured.target),
            Cell::styled(met, style),
            Cell::new(measured.isolation),
            Cell::maybe(spent.map(|s| s.commits.to_string())),
            Cell::maybe(spent.and_then(|s| s.round_trips).map(|trips| trips.to_string())),
            Cell::maybe(spent.map(|s| seconds(s.own_cpu))),
            Cell::maybe(postgres),
            Cell::new(notes.join(", ")),
        ]);
    }
    say(&table.render(&session.term, "nothing was measured"));
}
