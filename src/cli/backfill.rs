//! `tidegate backfill`: runs for past ticks.

use clap::Args;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use tidegate_engine::store::backfills::Backfill;
use tidegate_engine::view::BackfillTick;

use super::{Ended, Output, Session, page, say_json};
use crate::failure::{Failure, code};
use crate::term::{Cell, Style, Table, say};
use crate::words::{count, instant, short};

/// Arguments of `backfill`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The flow
    flow: String,
    /// First instant, or day in UTC, whose ticks are meant
    #[arg(long, value_name = "TIME|DAY")]
    from: String,
    /// Last instant, or day in UTC, whose ticks are meant
    #[arg(long, value_name = "TIME|DAY")]
    to: String,
    /// Which schedule, where the flow has several
    #[arg(long)]
    schedule: Option<String>,
    /// Its runs at once [default: the flow's max_active]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_active: Option<u32>,
    /// Only say which runs there would be
    #[arg(long)]
    dry_run: bool,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Makes the runs that are missing, or says which.
pub async fn run(args: Arguments, session: &Session) -> Ended {
    let (from, to) = (moment(&args.from, false)?, moment(&args.to, true)?);
    if from > to {
        return Err(Failure::usage("--from lies after --to"));
    }
    let desk = session.desk().await?;
    let wanted = Backfill {
        flow: args.flow,
        schedule: args.schedule,
        // The first instant itself is meant too.
        after: from.saturating_sub(SignedDuration::from_nanos(1)).unwrap_or(from),
        to,
        max_active: args.max_active,
        actor: String::new(),
    };
    let ticks = desk.backfill(wanted, args.dry_run).await?;
    if args.output == Output::Json {
        return say_json(&page(ticks));
    }
    show(&ticks, args.dry_run, session);
    Ok(code::DONE)
}

/// An instant, or the beginning or end of a day.
fn moment(text: &str, end: bool) -> Result<Timestamp, Failure> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let wrong = || {
        Failure::usage(format!("`{text}` is no instant and no day"))
            .help("write 2026-11-24 or 2026-11-24T02:00:00Z")
    };
    let day: Date = text.parse().map_err(|_| wrong())?;
    let day = if end {
        day.checked_add(1.day()).map_err(|_| wrong())?
    } else {
        day
    };
    let midnight = day.to_zoned(TimeZone::UTC).map_err(|_| wrong())?.timestamp();
    let last = SignedDuration::from_nanos(i64::from(end));
    midnight.checked_sub(last).map_err(|_| wrong())
}

fn show(ticks: &[BackfillTick], dry_run: bool, session: &Session) {
    let mut table = Table::new(&["TICK", "RUN", "MADE BY"], 2);
    for tick in ticks {
        let missing = if dry_run { "would be made" } else { "-" };
        table.row(vec![
            Cell::new(instant(tick.scheduled_for)),
            Cell::maybe(tick.run.map(short)),
            Cell::styled(tick.made_by.as_deref().unwrap_or(missing), Style::Dim),
        ]);
    }
    say(&table.render(&session.term, "no tick lies in that time"));
    let lacking = ticks.iter().filter(|tick| tick.run.is_none()).count();
    if dry_run {
        say(&format!("{} would be made\n", count(lacking as u64, "run")));
    }
}
