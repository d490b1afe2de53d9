//! The parts of a flow file as decoded: types are right, what they name is not yet looked up.

mod executor;
mod gate;
mod notify;
mod param;
mod task;

use std::ops::Range;
use std::time::Duration;

use toml::de::DeTable;

use self::notify::Comes;
use super::decode::{Doc, Node, Section, Text};
use super::diagnostic::Problem;
use crate::graph::{DomDow, Missed, Notify, Overlap, SUB_FLOW, Sender};

pub(super) use executor::LOCAL as EXECUTOR;
pub(super) use param::{RawParam, TYPES as PARAM_TYPES, decode_given};
pub(super) use task::{RUN_IFS, RawTask};

/// A whole file.
pub(super) struct Raw<'d> {
    pub head: Head,
    pub schedules: Vec<RawSchedule<'d>>,
    pub notify: Vec<Notify>,
    pub triggers: Vec<RawTrigger<'d>>,
    pub params: Vec<RawParam>,
    pub vars: Vec<(Text, Node<'d>)>,
    pub tasks: Vec<RawTask<'d>>,
}

/// The `[flow]` table.
#[derive(Default)]
pub(super) struct Head {
    pub name: Option<Text>,
    pub description: Option<String>,
    pub owner: Option<String>,
    pub tags: Vec<String>,
    pub timeout: Option<Duration>,
    pub expected: Option<Duration>,
    pub overlap: Overlap,
    pub max_active: u32,
    pub priority: i32,
}

/// A `[[trigger]]`.
pub(super) struct RawTrigger<'d> {
    pub span: Range<usize>,
    pub on: On<'d>,
}

/// What a trigger waits for.
pub(super) enum On<'d> {
    Flow {
        flow: Option<Text>,
        states: Vec<Text>,
    },
    Webhook {
        secret: Option<Text>,
        sender: Sender,
        when: Option<Text>,
        params: Option<Section<'d>>,
    },
}

/// A `[[schedule]]`.
pub(super) struct RawSchedule<'d> {
    pub span: Range<usize>,
    pub name: Option<Text>,
    pub cron: Option<Text>,
    pub timezone: Option<Text>,
    pub dom_dow: Option<DomDow>,
    pub missed: Missed,
    pub missed_window: Duration,
    pub params: Option<Section<'d>>,
}

pub(super) const ROOT_KEYS: [&str; 7] = ["flow", "schedule", "trigger", "notify", "params", "vars", "tasks"];
const FLOW_KEYS: [&str; 9] = [
    "name",
    "description",
    "owner",
    "tags",
    "timeout",
    "expected",
    "overlap",
    "max_active",
    "priority",
];
const SCHEDULE_KEYS: [&str; 7] = [
    "name",
    "cron",
    "timezone",
    "dom_dow",
    "missed",
    "missed_window",
    "params",
];
const FLOW_TRIGGER_KEYS: [&str; 3] = ["on", "flow", "states"];
const WEBHOOK_KEYS: [&str; 5] = ["on", "secret", "sender", "when", "params"];
pub(super) const TRIGGERS: [&str; 2] = ["flow", "webhook"];
pub(super) const SENDERS: [&str; 3] = ["tidegate", "mlflow", "github"];
pub(super) const ENDS: [&str; 4] = ["succeeded", "failed", "rejected", "cancelled"];
pub(super) const OVERLAPS: [&str; 4] = ["skip", "queue", "cancel_previous", "allow"];
pub(super) const MISSED: [&str; 3] = ["skip", "latest", "all"];
const A_DAY: Duration = Duration::from_secs(86_400);

/// Decodes a file.
pub(super) fn decode<'d>(doc: Doc<'d>, root: &'d DeTable<'d>) -> Raw<'d> {
    let root = Section {
        doc,
        table: root,
        span: first_line(doc.text),
        label: "a flow file".to_owned(),
    };
    root.only(&ROOT_KEYS);
    let entries = |key: &str, label: &str| {
        let section = root.get(key).and_then(|node| doc.open(node, label));
        section
            .into_iter()
            .flat_map(|section| section.entries().collect::<Vec<_>>())
    };
    let head = head(&root);
    let tasks = tasks(&root, (entries("tasks", "[tasks]").collect(), head.priority));
    let comes = Comes {
        overdue: head.expected.is_some(),
        waiting: may_ask(&root),
    };
    Raw {
        notify: root
            .tables("notify")
            .into_iter()
            .filter_map(|node| notify::decode(doc, node, comes))
            .collect(),
        head,
        schedules: root
            .tables("schedule")
            .into_iter()
            .filter_map(|node| schedule(doc, node))
            .collect(),
        triggers: root
            .tables("trigger")
            .into_iter()
            .filter_map(|node| trigger(doc, node))
            .collect(),
        params: entries("params", "[params]")
            .filter_map(|(key, node)| param::decode(doc, key, node))
            .collect(),
        vars: entries("vars", "[vars]").collect(),
        tasks,
    }
}

/// Whether people may be asked in a run: at a gate, or in the run of another flow.
fn may_ask(root: &Section<'_>) -> bool {
    let asks = |node: Node<'_>| {
        node.get_ref().as_table().is_none_or(|task| {
            let uses = task.get("uses").and_then(|uses| uses.get_ref().as_str());
            task.contains_key("gate") || uses == Some(SUB_FLOW)
        })
    };
    let tasks = root.get("tasks").and_then(|node| node.get_ref().as_table());
    tasks.is_none_or(|tasks| tasks.values().any(asks))
}

fn first_line(text: &str) -> Range<usize> {
    0..text.find('\n').unwrap_or(text.len())
}

fn head(root: &Section<'_>) -> Head {
    let fallback = Head {
        max_active: 1,
        ..Head::default()
    };
    let Some(node) = root.get("flow") else {
        let problem = Problem::new(
            "missing-key",
            root.span.clone(),
            "a flow file needs a `[flow]` table",
        );
        root.doc
            .problems
            .add(problem.help("begin with:  [flow]  and  name = \"…\""));
        return fallback;
    };
    let Some(flow) = root.doc.section(node, "[flow]", &FLOW_KEYS) else {
        return fallback;
    };
    idle_overlap(root, &flow);
    let (timeout, expected) = (flow.duration("timeout"), flow.duration("expected"));
    if let (Some(timeout), Some(expected)) = (timeout, expected)
        && expected >= timeout
    {
        let message = "`expected` is not below `timeout`: no run can be overdue before it times out";
        root.doc
            .report("impossible-bound", flow.span_of("expected"), message);
    }
    Head {
        name: flow.required("name"),
        description: flow.text("description").map(|t| t.value),
        owner: flow.text("owner").map(|t| t.value),
        tags: flow.texts("tags").into_iter().map(|t| t.value).collect(),
        timeout,
        expected,
        overlap: flow.choice("overlap", &OVERLAPS).unwrap_or_default(),
        max_active: flow.count("max_active", 1..10_001).unwrap_or(1),
        priority: task::priority(&flow).unwrap_or_default(),
    }
}

/// `overlap` where no tick ever comes.
fn idle_overlap(root: &Section<'_>, flow: &Section<'_>) {
    let is_empty = |node: Node<'_>| node.get_ref().as_array().is_some_and(|list| list.is_empty());
    if flow.get("overlap").is_none() || root.get("schedule").is_some_and(|node| !is_empty(node)) {
        return;
    }
    let message = "`overlap` has no effect: it is for ticks, and this flow has no schedule";
    let problem = Problem::new("without-effect", flow.span_of("overlap"), message);
    let help = "leave it out (other runs queue behind `max_active`), or add a [[schedule]]";
    root.doc.problems.add(problem.help(help));
}

/// `missed_window` where nothing is made up for.
fn idle_window(schedule: &Section<'_>, missed: Missed) {
    if missed != Missed::Skip || schedule.get("missed_window").is_none() {
        return;
    }
    let message = "`missed_window` has no effect: with missed = \"skip\" no tick is made up for";
    let problem = Problem::new("without-effect", schedule.span_of("missed_window"), message);
    let help = "leave it out, or write missed = \"latest\" or \"all\"";
    schedule.doc.problems.add(problem.help(help));
}

fn schedule<'d>(doc: Doc<'d>, node: Node<'d>) -> Option<RawSchedule<'d>> {
    let section = doc.section(node, "[[schedule]]", &SCHEDULE_KEYS)?;
    let missed = section.choice("missed", &MISSED).unwrap_or_default();
    idle_window(&section, missed);
    Some(RawSchedule {
        name: section.text("name"),
        cron: section.required("cron"),
        timezone: section.text("timezone"),
        dom_dow: section.choice("dom_dow", &["or", "and"]),
        missed,
        missed_window: section.duration("missed_window").unwrap_or(A_DAY),
        params: section
            .get("params")
            .and_then(|node| doc.open(node, "params of a schedule")),
        span: section.span,
    })
}

fn trigger<'d>(doc: Doc<'d>, node: Node<'d>) -> Option<RawTrigger<'d>> {
    let section = doc.open(node, "[[trigger]]")?;
    section.required("on");
    let on: String = section.choice("on", &TRIGGERS)?;
    let on = if on == "flow" {
        section.only(&FLOW_TRIGGER_KEYS);
        On::Flow {
            flow: section.required("flow"),
            states: section.texts("states"),
        }
    } else {
        section.only(&WEBHOOK_KEYS);
        let params = section.get("params");
        On::Webhook {
            secret: section.required("secret"),
            sender: section.choice("sender", &SENDERS).unwrap_or_default(),
            when: section.text("when"),
            params: params.and_then(|node| doc.open(node, "params of a trigger")),
        }
    };
    let span = section.span;
    Some(RawTrigger { span, on })
}

/// The tasks; `priority`: of those that have none of their own.
fn tasks<'d>(root: &Section<'d>, (entries, priority): (Vec<(Text, Node<'d>)>, i32)) -> Vec<RawTask<'d>> {
    if entries.is_empty() && root.get("tasks").is_none_or(|node| node.get_ref().is_table()) {
        let problem = Problem::new(
            "missing-key",
            root.span_of("tasks"),
            "a flow file needs at least one task",
        );
        root.doc
            .problems
            .add(problem.help("add:  [tasks.NAME]  and  uses = \"PLUGIN\""));
    }
    entries
        .into_iter()
        .filter_map(|(key, node)| task::decode(root.doc, (key, node), priority))
        .collect()
}
