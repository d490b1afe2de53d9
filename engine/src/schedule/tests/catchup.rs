use std::time::Duration;

use super::*;
use crate::graph::Missed;

const HOUR: Duration = Duration::from_secs(3_600);

fn ask(cursor: &str, now: &str, missed: Missed, window: Duration) -> Catchup {
    Catchup {
        cursor: at(cursor),
        now: at(now),
        missed,
        window,
        effective_from: Timestamp::MIN,
    }
}

fn summary(due: &Due) -> (Vec<String>, Vec<(u64, &'static str)>) {
    let run = due
        .run
        .iter()
        .map(|tick| tick.at.strftime("%H:%M").to_string())
        .collect();
    (
        run,
        due.skipped
            .iter()
            .map(|range| (range.count, range.reason.as_str()))
            .collect(),
    )
}

/// Three hours of downtime, every five minutes: 36 ticks.
#[test]
fn three_hours_of_downtime() {
    let table = table("*/5 * * * *", "UTC");
    let due = |missed, hours| {
        table.due(&ask(
            "2026-06-01T09:00:00Z",
            "2026-06-01T12:02:30Z",
            missed,
            HOUR * hours,
        ))
    };
    assert_eq!(summary(&due(Missed::Skip, 24)), (vec![], vec![(36, "missed")]));
    assert_eq!(
        summary(&due(Missed::Latest, 24)),
        (vec!["12:00".to_owned()], vec![(35, "missed")])
    );
    assert_eq!(due(Missed::All, 24).run.len(), 36);
    assert_eq!(due(Missed::All, 24).skipped, []);
    let last_hour = due(Missed::All, 1);
    assert_eq!((last_hour.run.len(), last_hour.missed()), (12, 24));
    let range = last_hour.skipped[0];
    assert_eq!(
        (range.first, range.last),
        (at("2026-06-01T09:05:00Z"), at("2026-06-01T11:00:00Z"))
    );
    assert_eq!(range.reason, SkipReason::Window);
}

#[test]
fn the_tick_of_this_moment_runs_under_every_policy() {
    let table = table("*/5 * * * *", "UTC");
    for missed in [Missed::Skip, Missed::Latest, Missed::All] {
        for window in [Duration::ZERO, HOUR] {
            for now in [
                "2026-06-01T12:05:00Z",
                "2026-06-01T12:05:00.4Z",
                "2026-06-01T12:05:59Z",
            ] {
                let due = table.due(&ask("2026-06-01T12:00:00Z", now, missed, window));
                assert_eq!(
                    summary(&due),
                    (vec!["12:05".to_owned()], vec![]),
                    "{missed:?} {now}"
                );
            }
        }
    }
}

#[test]
fn nothing_is_due_before_its_time_or_when_the_clock_went_back() {
    let table = table("*/5 * * * *", "UTC");
    for now in [
        "2026-06-01T12:04:59.999Z",
        "2026-06-01T12:00:00Z",
        "2026-06-01T10:00:00Z",
    ] {
        assert_eq!(
            table.due(&ask("2026-06-01T12:00:00Z", now, Missed::All, HOUR)),
            Due::default()
        );
    }
}

#[test]
fn at_most_a_hundred_are_made_up_for_the_newest() {
    let table = table("* * * * *", "UTC");
    let due = table.due(&ask(
        "2026-06-01T00:00:00Z",
        "2026-06-01T12:00:30Z",
        Missed::All,
        HOUR * 6,
    ));
    assert_eq!(due.run.len(), MOST_RUNS);
    assert_eq!(due.run.last().unwrap().at, at("2026-06-01T12:00:00Z"));
    assert!(due.run.is_sorted_by_key(|tick| tick.at));
    assert_eq!(summary(&due).1, [(360, "window"), (260, "limit")]);
}

#[test]
fn an_edit_never_fires_the_past() {
    let table = table("*/5 * * * *", "UTC");
    let edited = Catchup {
        effective_from: at("2026-06-01T11:55:00Z"),
        ..ask(
            "2026-06-01T09:00:00Z",
            "2026-06-01T12:00:10Z",
            Missed::All,
            HOUR * 24,
        )
    };
    assert_eq!(summary(&table.due(&edited)), (vec!["12:00".to_owned()], vec![]));
}

/// A week of downtime of 500 schedules that fire every minute: 10,080 ticks each, none of which is built.
#[test]
fn a_week_of_downtime_of_five_hundred_schedules_is_counted_not_built() {
    #[expect(clippy::disallowed_methods, reason = "the test measures")]
    let start = std::time::Instant::now();
    let table = table("* * * * *", "Europe/Berlin");
    for _ in 0..500 {
        let due = table.due(&ask(
            "2026-10-20T00:00:00Z",
            "2026-10-27T00:00:00Z",
            Missed::Latest,
            HOUR * 1_000,
        ));
        assert_eq!((due.run.len(), due.missed()), (1, 10_079));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
