use std::collections::BTreeSet;
use std::time::Duration;

use jiff::tz;
use proptest::prelude::*;

use super::*;
use crate::graph::Missed;

fn zones() -> Vec<String> {
    let names = tz::db().available().map(|name| name.as_str().to_owned());
    names
        .filter(|name| !name.starts_with("right/") && find_zone(name).is_ok())
        .collect()
}

fn item(min: u32, max: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (min..=max).prop_map(|n| n.to_string()),
        2 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (2..=(max - min) / 2).prop_map(|step| format!("*/{step}")),
        2 => (min..=max, min..=max, min..=max).prop_map(|(a, b, c)| format!("{a},{b},{c}")),
        2 => Just("*".to_owned()),
    ]
}

prop_compose! {
    fn expression()(
        minute in item(0, 59), hour in item(0, 23),
        day in prop_oneof![6 => Just("*".to_owned()), 2 => item(1, 28), 1 => Just("L".to_owned()), 1 => Just("15W".to_owned()), 1 => Just("29-31".to_owned())],
        month in prop_oneof![3 => Just("*".to_owned()), 1 => item(1, 12)],
        week in prop_oneof![3 => Just("*".to_owned()), 1 => item(0, 6), 1 => Just("SUN#1".to_owned()), 1 => Just("5L".to_owned())],
        both in any::<bool>(),
    ) -> (String, Option<DomDow>) {
        let given = day != "*" && week != "*";
        (format!("{minute} {hour} {day} {month} {week}"), given.then_some(if both { DomDow::And } else { DomDow::Or }))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ticks_come_in_order_and_agree_with_each_other(
        (expr, dom_dow) in expression(), zone in proptest::sample::select(zones()), second in 946_684_800_i64..7_258_118_400,
    ) {
        let Ok(cron) = Cron::parse(&expr, dom_dow) else { return Ok(()) };
        let table = Timetable::new(cron, find_zone(&zone).unwrap());
        let start = Timestamp::from_second(second).unwrap();
        let ticks = table.between(start, Timestamp::MAX, 40);
        prop_assert_eq!(ticks.len(), 40);
        let mut last = start;
        for tick in &ticks {
            prop_assert!(tick.at > last, "{} is not after {}", tick.at, last);
            let before = table.prev(tick.at);
            prop_assert!(before.as_ref().is_none_or(|before| before.at <= last));
            if last != start {
                prop_assert_eq!(before.map(|before| before.at), Some(last));
            }
            let wall = tick.at.to_zoned(table.zone().clone()).datetime();
            prop_assert!(!tick.nominal.is_empty() && tick.nominal.iter().all(|nominal| *nominal <= wall));
            prop_assert!(tick.nominal.contains(&wall) || table.cron().is_fixed());
            last = tick.at;
        }
        prop_assert_eq!(table.count(start, last), 40);
        prop_assert_eq!(table.count(start, ticks[20].at), 21);
        let newest = table.prev(last.saturating_add(Duration::from_nanos(1)).unwrap());
        prop_assert_eq!(newest.as_ref(), ticks.last());
    }

    #[test]
    fn every_tick_since_the_cursor_has_one_outcome(
        (expr, dom_dow) in expression(), zone in proptest::sample::select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
        cursor in 1_774_000_000_i64..1_800_000_000, length in 0..200_000_i64, window in 0..200_000_u64,
        missed in proptest::sample::select(vec![Missed::Skip, Missed::Latest, Missed::All]),
    ) {
        let Ok(cron) = Cron::parse(&expr, dom_dow) else { return Ok(()) };
        let table = Timetable::new(cron, find_zone(zone).unwrap());
        let (cursor, now) = (Timestamp::from_second(cursor).unwrap(), Timestamp::from_second(cursor + length).unwrap());
        let due = table.due(&Catchup { cursor, now, missed, window: Duration::from_secs(window), effective_from: cursor });
        let all: BTreeSet<Timestamp> = table.between(cursor, now, usize::MAX).iter().map(|tick| tick.at).collect();
        let mut outcomes: Vec<Timestamp> = due.run.iter().map(|tick| tick.at).collect();
        for range in &due.skipped {
            let inside: Vec<Timestamp> = all.range(range.first..=range.last).copied().collect();
            prop_assert_eq!(inside.len() as u64, range.count);
            outcomes.extend(inside);
        }
        prop_assert_eq!(outcomes.len(), all.len());
        prop_assert_eq!(outcomes.into_iter().collect::<BTreeSet<_>>(), all);
        prop_assert!(due.run.len() <= MOST_RUNS);
    }

    #[test]
    fn no_text_panics_and_every_error_points_inside(text in "[0-9*/,#LWa-zé@? -]{0,24}") {
        for dom_dow in [None, Some(DomDow::Or), Some(DomDow::And)] {
            if let Err(error) = Cron::parse(&text, dom_dow) {
                prop_assert!(text.get(error.at.clone()).is_some(), "{:?} of {:?}", error.at, text);
                prop_assert!(!error.help.is_empty());
            }
        }
    }
}

#[test]
fn a_search_takes_less_than_five_milliseconds() {
    for (expr, zone) in [
        ("0 0 29 2 *", "UTC"),
        ("*/15 2 29 2 *", "Europe/Berlin"),
        ("0-59 0-23 * * *", "Pacific/Apia"),
        ("* * * 2 0#5", "America/New_York"),
    ] {
        let table = table(expr, zone);
        #[expect(clippy::disallowed_methods, reason = "the test measures")]
        let start = std::time::Instant::now();
        for year in 0..50 {
            let from = Timestamp::from_second(1_325_203_199 + year * 31_556_952).unwrap();
            assert!(table.next(from).is_some() && table.prev(from).is_some());
        }
        assert!(
            start.elapsed() < Duration::from_millis(500),
            "{expr}: {:?} for 100 searches",
            start.elapsed()
        );
    }
}
