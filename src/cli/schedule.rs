//! `tidegate schedule`: what fires when. `next` and `explain` work on a file without a database.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use tidegate_engine::graph::ScheduleSpec;
use tidegate_engine::schedule::{Cron, Explanation, Timetable, find_zone};
use tidegate_engine::view;
use tidegate_engine::{clock, spec};

use super::{Ended, Output, Session, page, say_json, target};
use crate::failure::{Failure, code};
use crate::term::{Cell, Style, Table, paint, say, wrap};
use crate::words::{distance, instant};

/// Arguments of `schedule`.
#[derive(Debug, Args)]
pub struct Schedule {
    #[command(subcommand)]
    verb: Verb,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// All schedules and when they fire next
    List,
    /// Fire no more until resumed; what falls due meanwhile is recorded as skipped
    Pause(Which),
    /// Fire again, from now on
    Resume(Which),
    /// When the schedules of a flow or flow file fire
    Next(Next),
    /// What the schedules of a flow or flow file mean, in words
    Explain {
        /// A flow that was applied, or a flow file
        #[arg(value_name = "FLOW|FILE")]
        flow: String,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// The flow
    flow: String,
    /// Its schedule; all of them when none is named
    schedule: Option<String>,
}

#[derive(Debug, Args)]
struct Next {
    /// A flow that was applied, or a flow file
    #[arg(value_name = "FLOW|FILE")]
    flow: String,
    /// Strictly after this instant instead of now
    #[arg(long, value_name = "TIME")]
    after: Option<Timestamp>,
    /// How many of each
    #[arg(short = 'n', long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
}

/// Lists, pauses, resumes, explains.
pub async fn run(args: Schedule, session: &Session) -> Ended {
    match args.verb {
        Verb::List => list(args.output, session).await,
        Verb::Pause(which) => pause(which, (true, args.output), session).await,
        Verb::Resume(which) => pause(which, (false, args.output), session).await,
        Verb::Next(next) => {
            let timetables = timetables(&next.flow, session).await?;
            fires(&timetables, (&next, args.output), session)
        }
        Verb::Explain { flow } => {
            let timetables = timetables(&flow, session).await?;
            explain(&timetables, args.output, session)
        }
    }
}

async fn list(output: Output, session: &Session) -> Ended {
    let now = clock::now();
    let schedules = session.desk().await?.schedules().await?;
    if output == Output::Json {
        return say_json(&page(schedules));
    }
    say(&table(&schedules, now).render(&session.term, "no flow has a schedule"));
    Ok(code::DONE)
}

fn table(schedules: &[view::Schedule], now: Timestamp) -> Table {
    let mut table = Table::new(&["FLOW", "SCHEDULE", "NEXT", "IN", "MEANS"], 4);
    for schedule in schedules {
        let next = schedule.next.first().copied();
        let next_cell = match (&schedule.error, schedule.paused_at, next) {
            (Some(_), _, _) => Cell::styled("broken", Style::Red),
            (None, Some(_), _) => Cell::styled("paused", Style::Yellow),
            (None, None, next) => Cell::maybe(next.map(instant)),
        };
        table.row(vec![
            Cell::new(&schedule.flow),
            Cell::new(&schedule.name),
            next_cell,
            Cell::maybe(next.map(|at| distance(at.duration_since(now)))),
            Cell::styled(schedule.error.as_ref().unwrap_or(&schedule.sentence), Style::Dim),
        ]);
    }
    table
}

async fn pause(which: Which, (pause, output): (bool, Output), session: &Session) -> Ended {
    let desk = session.desk().await?;
    let mut known = desk.schedules().await?;
    known.retain(|schedule| schedule.flow == which.flow);
    if known.is_empty() {
        desk.flow(&which.flow).await?;
    }
    let names = known.iter().map(|schedule| schedule.name.as_str());
    let meant: Vec<&str> = names
        .clone()
        .filter(|name| which.schedule.as_deref().is_none_or(|wanted| wanted == *name))
        .collect();
    if meant.is_empty() {
        let wanted = which.schedule.as_deref().unwrap_or_default();
        let help = spec::suggest(wanted, "it has", names);
        let failure = Failure::refused(format!("flow `{}` has no schedule `{wanted}`", which.flow));
        return Err(failure.help(help.unwrap_or_else(|| "it has none".to_owned())));
    }
    let mut changed = Vec::new();
    for name in meant {
        changed.push(desk.pause_schedule((&which.flow, name), pause).await?);
        if output == Output::Json {
            continue;
        }
        let word = if pause {
            "is paused"
        } else {
            "fires again from now on"
        };
        say(&format!("{}/{name} {word}\n", which.flow));
    }
    match (output, which.schedule.is_some()) {
        (Output::Table, _) => Ok(code::DONE),
        // One that was named is what the API answers; all of a flow are a list, however many it has.
        (Output::Json, true) => say_json(&changed.pop()),
        (Output::Json, false) => say_json(&page(changed)),
    }
}

/// A schedule by name.
struct Named {
    flow: String,
    name: String,
    timetable: Timetable,
}

/// The schedules of a file, or of a flow that was applied.
async fn timetables(word: &str, session: &Session) -> Result<Vec<Named>, Failure> {
    let (flow, specs) = if target::is_file(word) {
        let flow = target::flow_of_file(word, session)?;
        (flow.name.to_string(), flow.schedules)
    } else {
        let flow = session.desk().await?.flow(word).await?;
        (word.to_owned(), flow.schedule)
    };
    if specs.is_empty() {
        return Err(Failure::refused(format!("flow `{flow}` has no schedule")));
    }
    specs.iter().map(|spec| named(&flow, spec)).collect()
}

fn named(flow: &str, spec: &ScheduleSpec) -> Result<Named, Failure> {
    let cron = Cron::parse(&spec.cron, spec.dom_dow).map_err(|error| Failure::usage(error.to_string()))?;
    let zone = find_zone(&spec.timezone).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Named {
        flow: flow.to_owned(),
        name: spec.name.to_string(),
        timetable: Timetable::new(cron, zone),
    })
}

/// A fire of a schedule, for programs.
#[derive(Serialize)]
struct Fire {
    schedule: String,
    at: Timestamp,
    local: String,
}

fn fires(schedules: &[Named], (next, output): (&Next, Output), session: &Session) -> Ended {
    let after = next.after.unwrap_or_else(clock::now);
    let mut fires: Vec<Fire> = Vec::new();
    for schedule in schedules {
        let ticks = schedule
            .timetable
            .between(after, Timestamp::MAX, next.count.into());
        fires.extend(ticks.into_iter().map(|tick| Fire {
            schedule: schedule.name.clone(),
            at: tick.at,
            local: local(tick.at, &schedule.timetable),
        }));
    }
    fires.sort_by_key(|fire| fire.at);
    if output == Output::Json {
        return say_json(&page(fires));
    }
    let mut table = Table::new(&["UTC", "LOCAL", "SCHEDULE"], 2);
    for fire in &fires {
        table.row(vec![
            Cell::new(instant(fire.at)),
            Cell::new(&fire.local),
            Cell::styled(&fire.schedule, Style::Dim),
        ]);
    }
    say(&table.render(&session.term, "it never fires again"));
    Ok(code::DONE)
}

fn local(at: Timestamp, timetable: &Timetable) -> String {
    at.to_zoned(timetable.zone().clone())
        .strftime("%a %Y-%m-%d %H:%M %Z")
        .to_string()
}

/// An explanation with its schedule's name, for programs.
#[derive(Serialize)]
struct Explained {
    flow: String,
    schedule: String,
    #[serde(flatten)]
    explanation: Explanation,
}

fn explain(schedules: &[Named], output: Output, session: &Session) -> Ended {
    let now = clock::now();
    let explained: Vec<Explained> = schedules
        .iter()
        .map(|schedule| Explained {
            flow: schedule.flow.clone(),
            schedule: schedule.name.clone(),
            explanation: schedule.timetable.explain(now, 5),
        })
        .collect();
    if output == Output::Json {
        return say_json(&page(explained));
    }
    for (schedule, explained) in schedules.iter().zip(&explained) {
        say(&told(schedule, &explained.explanation, session));
    }
    Ok(code::DONE)
}

fn told(schedule: &Named, explanation: &Explanation, session: &Session) -> String {
    let color = session.term.color;
    let title = paint(
        &format!("{}/{}", schedule.flow, schedule.name),
        Style::Bold,
        color,
    );
    let width = session.term.width;
    let mut text = format!(
        "{title}  {}  {}\n{}\n{}\n\n",
        explanation.expression,
        explanation.zone,
        wrap(&explanation.sentence, width),
        paint(&wrap(explanation.clock_rule, width), Style::Dim, color),
    );
    let mut table = Table::new(&["NEXT, UTC", "LOCAL"], 1);
    for fire in &explanation.next {
        table.row(vec![
            Cell::new(instant(fire.utc)),
            Cell::new(local(fire.utc, &schedule.timetable)),
        ]);
    }
    text.push_str(&table.render(&session.term, "it never fires again"));
    if explanation.clock_changes.is_empty() {
        text.push_str("\nThe clock of this zone never changes.\n");
    }
    for change in &explanation.clock_changes {
        let at = paint(&instant(change.at), Style::Dim, color);
        text.push_str(&format!("\n{at}\n{}\n", wrap(&change.sentence, width)));
    }
    text
}
