//! When tasks run and when they do not: `when`, `run_if`, failures that do not count, and what their dependents are handed.

use super::*;
use crate::graph::RunIf;

fn echo(name: &str, needs: &[u32], text: &str) -> Task {
    task(name, needs, ("here", json!({ "act": "echo", "text": text })))
}

fn failing(name: &str) -> Task {
    task(name, &[], ("here", json!({ "act": "fail" })))
}

async fn states(site: &Site, run: RunId) -> Vec<String> {
    let sql = "select state || coalesce(' ' || reason, '') from task_run where run = $1 order by idx";
    sqlx::query_scalar(sql)
        .bind(run.0)
        .fetch_all(site.store.pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_condition_is_false_is_skipped_with_what_needs_it_and_the_run_succeeds() {
    let mut quiet = echo("quiet", &[0], "x");
    quiet.when = Some("tasks.first.text == 'no'".to_owned());
    let mut loud = echo("loud", &[0], "{{ tasks.first.text }}!");
    loud.when = Some("tasks.first.text == 'yes' and params.name is string".to_owned());
    let mut join = echo("join", &[1, 2], "{{ tasks.quiet.text }} {{ tasks.loud.text }}");
    join.run_if = RunIf::AnySucceeded;
    let after = echo("after", &[1], "y");
    let site = Site::with(vec![echo("first", &[], "yes"), quiet, loud, join, after]).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Succeeded);
    assert_eq!(
        states(&site, run).await,
        [
            "succeeded",
            "skipped condition_false",
            "succeeded",
            "succeeded",
            "skipped needs_skipped"
        ]
    );
    assert_eq!(site.outputs(run, 3).await["text"], "null yes!");
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_that_is_neither_true_nor_false_fails_with_a_sentence() {
    let mut odd = echo("odd", &[], "x");
    odd.when = Some("params.name".to_owned());
    let mut unknown = echo("unknown", &[], "x");
    unknown.when = Some("params.nobody".to_owned());
    let site = Site::with(vec![odd, unknown]).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Failed);
    let said = site.message(run).await;
    assert!(
        said.contains("`when` must be true or false, but `params.name` is"),
        "{said}"
    );
    assert!(said.contains("params.nobody }}` is undefined"), "{said}");
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_does_not_count_hands_on_null_and_one_that_counts_wakes_who_waits_for_it() {
    let mut optional = failing("optional");
    optional.continue_on_failure = true;
    let after = echo(
        "after",
        &[0],
        "{{ 'nothing' if tasks.optional.text is none else tasks.optional.text }}",
    );
    let broken = failing("broken");
    let mut alarm = echo("alarm", &[2], "it broke");
    alarm.run_if = RunIf::AnyFailed;
    let mut calm = echo("calm", &[0], "x");
    calm.run_if = RunIf::AnyFailed;
    let mut anyway = task(
        "anyway",
        &[2, 3],
        (
            "here",
            json!({ "act": "echo", "text": "{{ tasks.broken.text }}" }),
        ),
    );
    anyway.run_if = RunIf::AllDone;
    let site = Site::with(vec![optional, after, broken, alarm, calm, anyway]).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Failed);
    assert_eq!(
        states(&site, run).await,
        [
            "failed error",
            "succeeded",
            "failed error",
            "succeeded",
            "skipped condition_false",
            "failed error"
        ]
    );
    assert_eq!(site.outputs(run, 1).await["text"], "nothing");
    let said = site.message(run).await;
    assert!(said.contains("null"), "what may not be null says so: {said}");
    site.close().await;
}
