use super::*;

#[test]
fn a_refused_expression_says_where_and_what_instead() {
    let cases = [
        ("", None),
        ("0 2 * *", None),
        ("0 0 2 * * *", None),
        ("0 2 * * * 2027", None),
        ("@reboot", None),
        ("@dayly", None),
        ("@every 5m", None),
        ("*/90 * * * *", None),
        ("60 * * * *", None),
        ("0 24 * * *", None),
        ("0 22-2 * * *", None),
        ("0 0 * * FRI-MON", None),
        ("0 0 1-7 * SUN", None),
        ("0 0 13 * 5", None),
        ("0 0 30 2 *", None),
        ("0 0 31 4 *", None),
        ("0 0 8 * SUN#1", Some(DomDow::And)),
        ("0 0 * * *", Some(DomDow::Or)),
        ("0 0 * * MOM", None),
        ("0 0 * * MONDAY", None),
        ("0 MON * * *", None),
        ("1,,2 * * * *", None),
        ("5/15 * * * *", None),
        ("H 2 * * *", None),
        ("0 0 ? * *", None),
        ("0 0 * * 5#6", None),
        ("*/0 * * * *", None),
        ("0 0 0 * *", None),
        ("0 0 L-3 * *", None),
        ("CRON_TZ=UTC 0 2 * * *", None),
    ];
    let shown = cases.map(|(expr, dom_dow)| {
        let error = Cron::parse(expr, dom_dow).expect_err(expr);
        let marked = format!("{}{}", " ".repeat(error.at.start), "^".repeat(error.at.len()));
        format!("{expr}\n{marked}\n  {error}\n  help: {}", error.help)
    });
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn an_expression_reads_as_a_sentence() {
    let cases = [
        ("0 2 * * *", None),
        ("@hourly", None),
        ("* * * * *", None),
        ("*/15 * * * *", None),
        ("30 2,14 * * *", None),
        ("0 9 * * MON-FRI", None),
        ("*/10 9-17 * * 1-5", None),
        ("0 */6 * * *", None),
        ("0 12 L * *", None),
        ("0 0 1,15 * *", None),
        ("0 0 * * SUN#1", None),
        ("0 0 * * 5L", None),
        ("0 0 15W * *", None),
        ("0 0 LW * *", None),
        ("0 3 1 1,7 *", None),
        ("0 3 * 6-8 *", None),
        ("0 0 13 * 5", Some(DomDow::And)),
        ("0 0 1-7 * SUN", Some(DomDow::Or)),
        ("7,22,37 9-17 * * *", None),
        ("0 0 29 2 *", None),
        ("15 * * * *", None),
        ("*/15 2 * * *", None),
        ("0 0,4,8-11 * * *", None),
    ];
    let shown = cases.map(|(expr, dom_dow)| {
        format!(
            "{expr:<20} {}",
            words::sentence(combined(expr, "UTC", dom_dow).cron())
        )
    });
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn the_next_clock_changes_are_told() {
    let cases = [
        ("30 2 * * *", "Europe/Berlin"),
        ("0 5 * * *", "Europe/Berlin"),
        ("*/15 * * * *", "America/New_York"),
        ("0 2 * * *", "UTC"),
    ];
    let shown = cases.map(|(expr, zone)| {
        let explained = table(expr, zone).explain(at("2026-11-24T00:00:00Z"), 2);
        let next: Vec<String> = explained
            .next
            .iter()
            .map(|fire| format!("  {} {}", fire.utc, fire.local))
            .collect();
        let changes: Vec<String> = explained
            .clock_changes
            .iter()
            .map(|change| format!("  {}: {}", change.at, change.sentence))
            .collect();
        format!(
            "{expr} {zone}: {}\n{}\n{}",
            explained.sentence,
            next.join("\n"),
            changes.join("\n")
        )
    });
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn a_zone_is_found_or_a_near_one_named() {
    assert_eq!(
        find_zone("europe/berlin").unwrap().iana_name(),
        Some("Europe/Berlin")
    );
    let near = |name: &str| find_zone(name).unwrap_err().near;
    assert_eq!(near("Europe/Berln").as_deref(), Some("Europe/Berlin"));
    assert_eq!(near("Berlin").as_deref(), Some("Europe/Berlin"));
    assert_eq!(near("Mars/Olympus"), None);
    assert!(find_zone("").is_err() && find_zone("Etc/Unknown").is_err());
}
