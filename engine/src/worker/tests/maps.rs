//! Tasks that run once for each item of a list.

use super::*;
use crate::store::orders::{Again, Order, Placed, What};

fn echo(name: &str, needs: &[u32], text: &str) -> Task {
    task(name, needs, ("here", json!({ "act": "echo", "text": text })))
}

fn each(list: serde_json::Value, task: Task) -> Task {
    Task {
        for_each: Some(list),
        ..task
    }
}

async fn shown(site: &Site, run: RunId) -> crate::view::Run {
    site.store.run(run, clock::now()).await.unwrap().unwrap()
}

fn states(run: &crate::view::Run) -> Vec<String> {
    let one = |task: &crate::view::TaskRun| format!("{} {}", task.name, task.state);
    run.tasks.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_for_each_item_and_hands_on_a_list_in_order() {
    let list = json!(["a", "{{ params.name }}", { "deep": [1, 2] }]);
    let first = each(
        list,
        echo(
            "first",
            &[],
            "{{ item.deep[1] ~ '' if item is mapping else item }}",
        ),
    );
    // Nested lists, and items that run in children.
    let mut second = each(
        json!("{{ tasks.first.text }}"),
        task(
            "second",
            &[0],
            ("child", json!({ "act": "echo", "text": "{{ item }}!" })),
        ),
    );
    second.max_parallel = Some(2);
    let nothing = each(json!([]), echo("nothing", &[], "x"));
    let last = echo(
        "last",
        &[1, 2],
        "{{ tasks.second.text | join(' ') }} {{ tasks.nothing.text | length }} {{ tasks.second.text[0] }}",
    );
    let site = Site::with(vec![first, second, nothing, last]).await;
    let run = site.start().await;
    let end = site.end(run).await;
    assert_eq!(end, RunState::Succeeded, "{}", site.message(run).await);
    let seen = shown(&site, run).await;
    assert_eq!(
        states(&seen),
        [
            "first succeeded",
            "first[0] succeeded",
            "first[1] succeeded",
            "first[2] succeeded",
            "second succeeded",
            "second[0] succeeded",
            "second[1] succeeded",
            "second[2] succeeded",
            "nothing succeeded",
            "last succeeded"
        ]
    );
    assert_eq!(
        site.outputs(run, 3).await["text"],
        "a! {{ vars.greeting }}! 2! 0 a!"
    );
    assert_eq!(seen.tasks[3].item, Some(json!({ "deep": [1, 2] })));
    assert_eq!(seen.tasks[0].items.as_ref().unwrap()["succeeded"], 3);
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_fails_fails_the_task_and_a_retry_runs_only_what_did_not_succeed() {
    let mut list = each(json!(["echo", "fail", "flaky"]), echo("list", &[], "x"));
    list.with = json!({ "act": "{{ item }}", "text": "{{ item }}" });
    list.max_parallel = Some(1);
    let after = echo("after", &[0], "{{ tasks.list.text | join }}");
    let site = Site::with(vec![list, after]).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Failed);
    let seen = shown(&site, run).await;
    let expected = [
        "list failed",
        "list[0] succeeded",
        "list[1] failed",
        "list[2] succeeded",
        "after skipped",
    ];
    assert_eq!(
        states(&seen),
        expected.map(String::from).into_iter().collect::<Vec<_>>()
    );
    assert_eq!(seen.tasks[0].reason.as_deref(), Some("items_failed"));
    let again = Order {
        id: clock::new_run_id(),
        actor: "anna".to_owned(),
        key: None,
        what: What::Retry(Again {
            run,
            from: None,
            params: serde_json::Map::new(),
        }),
    };
    let placed = site.store.place(again, clock::now()).await.unwrap();
    let Placed::Run { id, .. } = placed else {
        panic!("{placed:?}");
    };
    assert_eq!(site.end(id).await, RunState::Failed);
    let seen = shown(&site, id).await;
    let reasons: Vec<Option<&str>> = seen.tasks.iter().map(|task| task.reason.as_deref()).collect();
    let expected = [
        Some("items_failed"),
        Some("carried"),
        Some("error"),
        Some("carried"),
        Some("needs_failed"),
    ];
    assert_eq!(reasons, expected);
    assert_eq!(seen.tasks[3].outputs.as_ref().unwrap()["text"], "second time");
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_that_is_cancelled_starts_no_further_item() {
    let mut list = each(
        json!([1, 2, 3]),
        task("list", &[], ("here", json!({ "act": "hang" }))),
    );
    list.max_parallel = Some(2);
    let site = Site::with(vec![list]).await;
    let run = site.start().await;
    site.running().await;
    let running = async || {
        let sql = "select count(*) from lease where idx > 0";
        sqlx::query_scalar::<_, i64>(sql)
            .fetch_one(site.store.pool())
            .await
            .unwrap()
    };
    site.wait("two items", async || running().await == 2).await;
    site.store
        .cancel_run(run, Reason::Requested, clock::now())
        .await
        .unwrap();
    assert_eq!(site.end(run).await, RunState::Cancelled);
    let seen = shown(&site, run).await;
    assert!(
        seen.tasks.iter().all(|task| task.state == "cancelled"),
        "{seen:?}"
    );
    assert_eq!(
        seen.tasks.iter().filter(|task| task.epoch == 0).count(),
        1,
        "one never began"
    );
    site.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_list_fails_with_a_sentence() {
    let text = each(json!("{{ params.name }}"), echo("text", &[], "x"));
    let long = each(json!("{{ ('x' * 10001) | list }}"), echo("long", &[], "x"));
    let site = Site::with(vec![text, long]).await;
    let run = site.start().await;
    assert_eq!(site.end(run).await, RunState::Failed);
    let said = site.message(run).await;
    assert!(
        said.contains("`for_each` must be a list, this is a string"),
        "{said}"
    );
    assert!(said.contains("10001 items, more than 10000"), "{said}");
    site.close().await;
}
