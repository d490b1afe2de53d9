//! Schedules: the cron expression, the zone, the params of the runs they make.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::super::decode::{Doc, Text};
use super::super::diagnostic::Problem;
use super::super::raw::{RawSchedule, decode_given};
use super::given::given;
use crate::graph::{ParamSpec, ScheduleSpec};
use crate::id::ScheduleName;
use crate::schedule::{Cron, find_zone};

/// Checks all schedules. The answer counts only if no problem was noted.
pub(super) fn check(
    doc: Doc<'_>,
    raw: Vec<RawSchedule<'_>>,
    params: &IndexMap<String, ParamSpec>,
) -> Vec<ScheduleSpec> {
    let mut seen = BTreeSet::new();
    raw.into_iter()
        .filter_map(|schedule| check_one(doc, schedule, params, &mut seen))
        .collect()
}

fn check_one(
    doc: Doc<'_>,
    raw: RawSchedule<'_>,
    params: &IndexMap<String, ParamSpec>,
    seen: &mut BTreeSet<String>,
) -> Option<ScheduleSpec> {
    let name = schedule_name(doc, &raw, seen);
    let timezone = raw.timezone.as_ref().map_or("UTC", |text| text.value.as_str());
    if let Some(text) = &raw.timezone {
        check_zone(doc, text);
    }
    let giver = ("this schedule", raw.span.clone());
    let given = given(doc, (raw.params.as_ref(), params), giver, |key, node, spec| {
        decode_given(doc, node, &key.value, &spec.kind)
    });
    let cron = raw.cron.as_ref()?;
    if let Err(error) = Cron::parse(&cron.value, raw.dom_dow) {
        let problem = Problem::new("bad-cron", doc.place(cron, error.at.clone()), error.to_string());
        doc.problems.add(problem.help(error.help));
    }
    Some(ScheduleSpec {
        name: name?,
        cron: cron.value.clone(),
        timezone: timezone.to_owned(),
        dom_dow: raw.dom_dow,
        missed: raw.missed,
        missed_window: raw.missed_window,
        params: given,
    })
}

fn schedule_name(doc: Doc<'_>, raw: &RawSchedule<'_>, seen: &mut BTreeSet<String>) -> Option<ScheduleName> {
    let written = raw.name.as_ref().map_or("default", |text| text.value.as_str());
    let span = raw
        .name
        .as_ref()
        .map_or_else(|| raw.span.clone(), |text| text.span.clone());
    if !seen.insert(written.to_lowercase()) {
        let problem = Problem::new(
            "duplicate-name",
            span.clone(),
            format!("another schedule is called `{written}`"),
        );
        doc.problems
            .add(problem.help("give each schedule a `name` of its own; without one it is `default`"));
    }
    ScheduleName::new(written)
        .map_err(|error| doc.report("bad-name", span, error.to_string()))
        .ok()
}

fn check_zone(doc: Doc<'_>, text: &Text) {
    if let Err(unknown) = find_zone(&text.value) {
        let problem = Problem::new("unknown-zone", text.span.clone(), unknown.to_string());
        doc.problems.add(problem.help(unknown.near.map_or_else(
            || "write an IANA name like \"UTC\" or \"Europe/Berlin\"".to_owned(),
            |near| format!("did you mean \"{near}\"?"),
        )));
    }
}
