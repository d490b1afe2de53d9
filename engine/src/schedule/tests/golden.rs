use super::*;

#[test]
fn a_time_in_the_gap_fires_at_its_end() {
    let berlin = table("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        fires(&berlin, "2026-03-27T12:00:00Z", 3),
        ["03-28 01:30", "03-29 01:00", "03-30 00:30"]
    );
    let new_york = table("30 2 * * *", "America/New_York");
    assert_eq!(fires(&new_york, "2026-03-08T00:00:00Z", 1), ["03-08 07:00"]);
}

#[test]
fn a_repeated_time_fires_the_first_time_only() {
    let berlin = table("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        fires(&berlin, "2026-10-24T12:00:00Z", 2),
        ["10-25 00:30", "10-26 01:30"]
    );
    assert_eq!(fires(&berlin, "2026-10-25T00:30:00Z", 1), ["10-26 01:30"]);
    assert_eq!(fires(&berlin, "2026-10-25T01:00:00Z", 1), ["10-26 01:30"]);
}

#[test]
fn a_list_of_times_is_several_fixed_times() {
    let berlin = table("30 2,14 * * *", "Europe/Berlin");
    assert_eq!(
        fires(&berlin, "2026-03-28T23:00:00Z", 2),
        ["03-29 01:00", "03-29 12:30"]
    );
    assert_eq!(
        fires(&berlin, "2026-10-24T23:00:00Z", 3),
        ["10-25 00:30", "10-25 13:30", "10-26 01:30"]
    );
}

#[test]
fn wildcards_follow_elapsed_time() {
    let quarter_hours = table("*/15 * * * *", "Europe/Berlin");
    for (from, to, count) in [
        ("2026-10-24T21:59:00Z", "2026-10-25T22:59:00Z", 100),
        ("2026-03-28T22:59:00Z", "2026-03-29T21:59:00Z", 92),
    ] {
        let ticks = quarter_hours.between(at(from), at(to), 1_000);
        assert_eq!(ticks.len(), count);
        assert_eq!(quarter_hours.count(at(from), at(to)), count as u64);
        assert!(
            ticks
                .windows(2)
                .all(|pair| pair[1].at.as_second() - pair[0].at.as_second() == 900)
        );
    }
}

#[test]
fn two_times_at_one_instant_are_one_tick() {
    let berlin = table("0,30 2,3 * * *", "Europe/Berlin");
    let tick = berlin.next(at("2026-03-29T00:00:00Z")).unwrap();
    assert_eq!(tick.at, at("2026-03-29T01:00:00Z"));
    let nominal: Vec<String> = tick.nominal.iter().map(ToString::to_string).collect();
    assert_eq!(
        nominal,
        [
            "2026-03-29T02:00:00",
            "2026-03-29T02:30:00",
            "2026-03-29T03:00:00"
        ]
    );
    assert_eq!(
        fires(&berlin, "2026-03-29T00:00:00Z", 2),
        ["03-29 01:00", "03-29 01:30"]
    );
    assert_eq!(berlin.prev(at("2026-03-29T01:30:00Z")), Some(tick));
}

#[test]
fn a_missing_day_fires_at_its_end() {
    let apia = table("0 12 30 12 *", "Pacific/Apia");
    assert_eq!(
        apia.next(at("2011-12-01T00:00:00Z")).unwrap().at,
        at("2011-12-30T10:00:00Z")
    );
    let noon = table("0 12 * * *", "Pacific/Apia");
    assert_eq!(
        fires(&noon, "2011-12-29T12:00:00Z", 3),
        ["12-29 22:00", "12-30 10:00", "12-30 22:00"]
    );
}

#[test]
fn a_leap_day_comes_after_eight_years() {
    let leap = table("0 0 29 2 *", "UTC");
    let years = |after: &str, n| {
        leap.between(at(after), Timestamp::MAX, n)
            .iter()
            .map(|t| t.at.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        years("2026-01-01T00:00:00Z", 3),
        [
            "2028-02-29T00:00:00Z",
            "2032-02-29T00:00:00Z",
            "2036-02-29T00:00:00Z"
        ]
    );
    assert_eq!(years("2096-03-01T00:00:00Z", 1), ["2104-02-29T00:00:00Z"]);
    assert_eq!(
        leap.prev(at("2104-02-29T00:00:00Z")).unwrap().at,
        at("2096-02-29T00:00:00Z")
    );
}

#[test]
fn days_that_depend_on_the_month() {
    let year = "2025-12-31T23:59:00Z";
    let utc = |expr: &str, n| fires(&table(expr, "UTC"), year, n);
    assert_eq!(
        utc("0 12 L 2-4 *", 3),
        ["02-28 12:00", "03-31 12:00", "04-30 12:00"]
    );
    for first_sunday in ["0 0 * * SUN#1", "0 0 * * 0#1", "0 0 * * 7#1"] {
        assert_eq!(
            utc(first_sunday, 3),
            ["01-04 00:00", "02-01 00:00", "03-01 00:00"]
        );
    }
    for last_friday in ["0 0 * * 5L", "0 0 * * FRIL"] {
        assert_eq!(utc(last_friday, 3), ["01-30 00:00", "02-27 00:00", "03-27 00:00"]);
    }
    assert_eq!(
        utc("0 0 15W * *", 4),
        ["01-15 00:00", "02-16 00:00", "03-16 00:00", "04-15 00:00"]
    );
    assert_eq!(
        utc("0 0 1W * *", 3),
        ["01-01 00:00", "02-02 00:00", "03-02 00:00"]
    );
    assert_eq!(
        utc("0 0 LW * *", 3),
        ["01-30 00:00", "02-27 00:00", "03-31 00:00"]
    );
    assert_eq!(utc("0 0 * * 7", 2), utc("0 0 * * 0", 2));
    assert_eq!(utc("0 0 * * MON-FRI", 2), ["01-01 00:00", "01-02 00:00"]);
    assert_eq!(
        utc("0 0 * * SAT-SUN", 3),
        ["01-03 00:00", "01-04 00:00", "01-10 00:00"]
    );
}

#[test]
fn day_of_month_and_day_of_week_combine_as_written() {
    let year = "2025-12-31T23:59:00Z";
    let or = combined("0 0 1-7 * SUN", "UTC", Some(DomDow::Or));
    assert_eq!(fires(&or, year, 8)[6..], ["01-07 00:00", "01-11 00:00"]);
    let and = combined("0 0 1-7 * SUN", "UTC", Some(DomDow::And));
    assert_eq!(
        fires(&and, year, 3),
        ["01-04 00:00", "02-01 00:00", "03-01 00:00"]
    );
    let friday_13 = combined("0 0 13 * 5", "UTC", Some(DomDow::And));
    assert_eq!(
        fires(&friday_13, year, 3),
        ["02-13 00:00", "03-13 00:00", "11-13 00:00"]
    );
}

#[test]
fn names_of_whole_expressions() {
    for (name, fields) in [
        ("@daily", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@YEARLY", "0 0 1 1 *"),
    ] {
        let after = "2026-02-03T04:05:06Z";
        assert_eq!(
            fires(&table(name, "UTC"), after, 5),
            fires(&table(fields, "UTC"), after, 5),
            "{name}"
        );
    }
}

/// Why `croner` is only asked to read: its own evaluator loses the spring run of a list, doubles the autumn one, and gives up
/// on Samoa's missing day.
#[test]
fn the_evaluator_of_croner_goes_wrong_where_ours_does_not() {
    use std::str::FromStr;

    let fired = |expr: &str, zone: chrono_tz::Tz, after: &str, count: usize| -> Vec<String> {
        let start = chrono::DateTime::parse_from_rfc3339(after)
            .unwrap()
            .with_timezone(&zone);
        let ticks = croner::Cron::from_str(expr)
            .unwrap()
            .iter_after(start)
            .take(count);
        ticks
            .map(|t| {
                Timestamp::from_second(t.timestamp())
                    .unwrap()
                    .strftime("%m-%d %H:%M")
                    .to_string()
            })
            .collect()
    };
    let berlin = chrono_tz::Europe::Berlin;
    let ours = table("30 2,14 * * *", "Europe/Berlin");
    assert_eq!(
        fired("30 2,14 * * *", berlin, "2026-03-28T23:00:00Z", 1),
        ["03-29 12:30"],
        "the spring run is lost"
    );
    assert_eq!(fires(&ours, "2026-03-28T23:00:00Z", 1), ["03-29 01:00"]);
    let autumn = fired("30 2,14 * * *", berlin, "2026-10-24T23:00:00Z", 2);
    assert_eq!(
        autumn,
        ["10-25 00:30", "10-25 01:30"],
        "the autumn run comes twice"
    );
    assert_eq!(
        fires(&ours, "2026-10-24T23:00:00Z", 2),
        ["10-25 00:30", "10-25 13:30"]
    );
    assert!(
        croner::Cron::from_str("*/90 * * * *").is_ok(),
        "an impossible step is accepted"
    );
    assert!(Cron::parse("*/90 * * * *", None).is_err());
    let apia = chrono_tz::Pacific::Apia;
    let start = chrono::DateTime::parse_from_rfc3339("2011-12-01T00:00:00Z")
        .unwrap()
        .with_timezone(&apia);
    let missing_day = croner::Cron::from_str("0 12 30 12 *")
        .unwrap()
        .find_next_occurrence(&start, false);
    assert!(missing_day.map_or(true, |t| t.timestamp() != at("2011-12-30T10:00:00Z").as_second()));
}

/// Found in CI by the property of ticks: the files of zones that Debian ships hold a transition on 2038-01-19 that changes nothing.
#[test]
fn a_transition_that_changes_nothing_is_no_seam() {
    for (expr, zone) in [
        ("*/20 */8 * * *", "Australia/LHI"),
        ("20 8 * * *", "Europe/Berlin"),
    ] {
        let table = table(expr, zone);
        let (start, end) = (at("2037-10-01T00:00:00Z"), at("2038-05-01T00:00:00Z"));
        let ticks = table.between(start, end, usize::MAX);
        assert_eq!(table.count(start, end), ticks.len() as u64, "{expr} in {zone}");
    }
}
