//! What people read on the pages, of the gallery's made-up data: a change of words or of what is shown is seen here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

#[expect(dead_code, reason = "the gallery shows more of it")]
#[path = "../examples/gallery/shelf.rs"]
mod shelf;
#[expect(dead_code, reason = "the gallery shows more of it")]
#[path = "../examples/gallery/views.rs"]
mod views;

use askama::Template;
use tidegate_engine::command::{Actor, Role};
use tidegate_engine::view::Page;
use tidegate_web::Visitor;
use tidegate_web::pages::{
    Frame, approval, approvals, flow, flows, ledger, model, models, overview, rollback, run, runs, schedules,
    workers,
};

fn anna() -> Visitor {
    Visitor {
        actor: Actor::person("anna", [Role::Operator, Role::Approver]),
        csrf: "csrf".to_owned(),
        token: String::new(),
    }
}

fn frame(here: &str) -> Frame {
    Frame::of(&anna(), (here, 2), views::now())
}

fn page<T>(items: Vec<T>) -> Page<T> {
    Page { items, next: None }
}

/// The texts of a page in reading order: a line for each block, without what is only drawn or read out.
fn read(template: &impl Template) -> String {
    let html = template.render().unwrap();
    let main = html
        .split("<main")
        .nth(1)
        .unwrap()
        .split("</main>")
        .next()
        .unwrap();
    let mut out = String::new();
    let mut rest = main.split_once('>').unwrap().1;
    while let Some((text, tag)) = rest.split_once('<') {
        out.push_str(&text.replace('\n', " "));
        let (tag, after) = tag.split_once('>').unwrap();
        rest = after;
        match tag.trim_start_matches('/').split([' ', '/']).next().unwrap() {
            "title" => rest = after.split_once("</title>").map_or(after, |(_, after)| after),
            "p" | "div" | "li" | "tr" | "h1" | "h2" | "h3" | "h4" | "section" | "article" | "button"
            | "label" | "dt" | "details" | "figure" | "option" => out.push('\n'),
            "td" | "th" | "dd" | "text" | "a" | "span" => out.push(' '),
            _ => {}
        }
    }
    let lines = out
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines
        .join("\n")
        .replace("&#38;", "&")
        .replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
}

fn approval_of(approval: &tidegate_engine::view::Approval) -> String {
    let tried = approval::Tried::default();
    read(&approval::ApprovalPage::new(
        approval,
        tried,
        (&anna(), frame("/approvals")),
    ))
}

#[test]
fn an_approval_with_its_evidence() {
    insta::assert_snapshot!(approval_of(&views::approval("open")));
}

#[test]
fn an_approval_that_was_decided() {
    let text = approval_of(&views::approval("approved"));
    assert!(
        text.contains("Approved: the gate is open") && text.contains("The gain is small but sure."),
        "{text}"
    );
    assert!(!text.contains("Decline"), "{text}");
}

#[test]
fn the_first_ever_approval_has_nothing_to_compare_with() {
    let text = approval_of(&views::first_approval());
    assert!(
        text.contains("There is no production model to compare with yet."),
        "{text}"
    );
    assert!(
        text.contains("has no baseline to compare with yet: a person decides"),
        "{text}"
    );
}

#[test]
fn a_run_that_waits() {
    insta::assert_snapshot!(read(&run::RunPage::new(views::waiting_run(), frame("/runs"))));
}

#[test]
fn a_run_that_failed() {
    let text = read(&run::RunPage::new(views::failed_run(), frame("/runs")));
    assert!(
        text.contains("did you mean `dwell`?") && text.contains("Retry what did not succeed"),
        "{text}"
    );
    assert!(!text.contains("Cancel this run"), "{text}");
}

#[test]
fn the_overview() {
    let overview = overview::Overview::new(&shelf::overview(), (&anna(), frame("/")));
    insta::assert_snapshot!(read(&overview));
}

#[test]
fn an_empty_house_says_what_to_do_next() {
    let overview = overview::Overview::new(&overview::Facts::default(), (&anna(), frame("/")));
    let none = (runs::Which::default(), Vec::new());
    let pages = [
        (read(&overview), "tidegate apply flows/playbook"),
        (
            read(&flows::Flows::new(&[], frame("/flows"))),
            "tidegate check my-flow.toml",
        ),
        (
            read(&workers::Workers::new(&[], frame("/workers"))),
            "tidegate worker",
        ),
        (read(&models::Models::new(&[], frame("/models"))), "mlflow_log"),
        (
            read(&approvals::Approvals::new(
                &page(Vec::new()),
                false,
                (&anna(), frame("/approvals")),
            )),
            "Nothing waits",
        ),
        (
            read(&runs::Runs::new(&page(Vec::new()), none, frame("/runs"))),
            "tidegate run FLOW",
        ),
        (
            read(&schedules::Schedules::new(&[], frame("/schedules"))),
            "[[schedule]]",
        ),
    ];
    for (text, way) in pages {
        assert!(text.contains(way), "{way} in {text}");
    }
}

#[test]
fn a_flow_and_a_form_that_came_back() {
    let summary = shelf::flow_summary();
    let page = flow::FlowPage::new((&summary, &shelf::flow()), &shelf::sent(), frame("/flows"));
    insta::assert_snapshot!(read(&page));
}

#[test]
fn a_model_with_its_history() {
    insta::assert_snapshot!(read(&model::ModelPage::new(&shelf::model(), frame("/models"))));
}

#[test]
fn a_rollback_says_what_the_click_does() {
    let page = rollback::RollbackPage::new(
        &shelf::rollback(true),
        rollback::Tried::default(),
        frame("/models"),
    );
    insta::assert_snapshot!(read(&page));
}

#[test]
fn schedules_in_both_clocks() {
    insta::assert_snapshot!(read(&schedules::Schedules::new(
        &shelf::schedules(),
        frame("/schedules")
    )));
}

#[test]
fn a_broken_ledger_is_said_first() {
    let mut report = shelf::report();
    report.broken = Some(tidegate_engine::view::LedgerBreak {
        seq: 2,
        why: "its hash is another".to_owned(),
    });
    let text = read(&ledger::Ledger::new(
        &page(shelf::ledger()),
        &report,
        frame("/ledger"),
    ));
    assert!(
        text.contains("The chain breaks at entry 2: its hash is another"),
        "{text}"
    );
}
