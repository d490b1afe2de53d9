//! The twelve wrong flow files: each answer names file, line, column and the way out.

use super::*;
use std::fmt::Write as _;

fn shown(name: &str, text: &str) -> String {
    let problems = check_text(name, text).expect_err("this flow file is wrong");
    render_text(&problems, text, false)
}

macro_rules! wrong {
    ($($test:ident $file:literal),+ $(,)?) => {
        $(#[test]
        fn $test() {
            let text = include_str!(concat!("../testdata/wrong/", $file, ".toml"));
            insta::assert_snapshot!($file, shown($file, text));
        })+
    };
}

wrong! {
    typo_in_key "typo-in-key",
    unknown_plugin "unknown-plugin",
    cycle_of_three "cycle-of-three",
    undeclared_output "undeclared-output",
    wrong_type "wrong-type",
    never_firing_cron "never-firing-cron",
    six_field_cron "six-field-cron",
    day_of_month_with_weekday "day-of-month-with-weekday",
    duplicate_task "duplicate-task",
    nan_bound "nan-bound",
    unknown_time_zone "unknown-time-zone",
}

/// Nanoseconds that this thread has computed; unlike the time of day it does not depend on what else runs.
fn computed() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

/// Half a second in an optimised build. This profile leaves the parser unoptimised, which costs several times as much.
const BOUND: u64 = 2_000_000_000;

#[test]
fn ten_thousand_tasks_with_one_error() {
    let mut text = "[flow]\nname = \"many\"\n".to_owned();
    for at in 0..10_000 {
        let days = if at == 7_777 { "\"seven\"" } else { "7" };
        let source = match at {
            0 => "s3://events".to_owned(),
            _ => format!("{{{{ tasks.t{}.events.uri }}}}", at - 1),
        };
        let with = format!("{{ source = \"{source}\", days = {days} }}");
        write!(text, "\n[tasks.t{at}]\nuses = \"data_pull\"\nwith = {with}\n").unwrap();
    }
    let before = computed();
    let out = shown("many", &text);
    let took = computed() - before;
    insta::assert_snapshot!("ten-thousand-tasks", out);
    assert!(took < BOUND, "checking and rendering took {took} ns");
}
