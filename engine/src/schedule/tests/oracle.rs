use super::*;

/// Fires over two days each, most of them around clock changes, as found by Python over every minute (`testdata/make_oracle.py`).
const ORACLE: &str = include_str!("../testdata/oracle.txt");

#[test]
fn the_same_fires_as_a_walk_over_every_minute_in_another_language() {
    let mut samples = 0;
    for line in ORACLE.lines() {
        let [expr, zone, start, steps] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let (table, start) = (table(expr, zone), at(start));
        let mut expected = Vec::new();
        let mut minute = 0;
        for step in steps.split_whitespace() {
            let (step, times) = step.split_once('x').unwrap_or((step, "1"));
            for _ in 0..times.parse::<usize>().unwrap() {
                minute += step.parse::<i64>().unwrap();
                expected.push(Timestamp::from_second(start.as_second() + minute * 60).unwrap());
            }
        }
        let end = Timestamp::from_second(start.as_second() + 2_880 * 60).unwrap();
        let found: Vec<Timestamp> = table
            .between(start, end, usize::MAX)
            .iter()
            .map(|tick| tick.at)
            .collect();
        assert_eq!(found, expected, "{line}");
        assert_eq!(table.count(start, end), expected.len() as u64, "{line}");
        samples += 1;
    }
    assert_eq!(samples, 3_000);
}
