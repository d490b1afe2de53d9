//! Large maps: ten thousand items in one run, claimed and reported as workers do.

use super::*;

/// A map over so many items, and a task that needs it.
async fn expanded(items: u32, at_once: Option<u32>) -> (Bench, RunId) {
    let mut map = task("map", &[], 1);
    map.for_each = Some(json!([]));
    map.max_parallel = at_once;
    let bench = Bench::with(vec![map, task("after", &[0], 1)]).await;
    let run = bench.run().await;
    let head = bench.claim(1).await.remove(0);
    let report = Report {
        items: Some((0..items).map(|item| json!(item)).collect()),
        outputs: None,
        ..report(&head, Outcome::Expanded { count: items })
    };
    let done = bench.store.advance(vec![report], None, bench.now).await.unwrap();
    assert_eq!(done.accepted, [true]);
    (bench, run)
}

/// Claims and reports, so many at once, until nothing is left to claim; answers how many.
async fn work_off(bench: &Bench, at_once: usize) -> usize {
    let mut count = 0;
    loop {
        let claims = bench.claim(at_once).await;
        if claims.is_empty() {
            return count;
        }
        count += claims.len();
        let reports: Vec<Report> = claims.iter().map(|c| report(c, Outcome::Succeeded)).collect();
        let done = bench.store.advance(reports, None, bench.now).await.unwrap();
        assert!(done.accepted.iter().all(|accepted| *accepted));
    }
}

#[tokio::test]
async fn ten_thousand_items_run_and_what_needs_them_follows() {
    let (bench, run) = expanded(10_000, None).await;
    assert_eq!(work_off(&bench, 500).await, 10_001);
    assert_eq!(bench.state(run).await, RunState::Succeeded);
    let shown = bench.store.run(run, bench.now).await.unwrap().unwrap();
    assert_eq!(shown.tasks.len(), 102, "a view has room for a hundred items");
    let counts = shown.tasks[0].items.as_ref().unwrap();
    assert_eq!(counts["succeeded"], 10_000);
    let page = bench.store.items((run, "map"), Some(9_990), 50).await.unwrap();
    assert_eq!((page.items.len(), page.next), (9, None));
    assert_eq!(
        (page.items[8].name.as_str(), &page.items[8].item),
        ("map[9999]", &Some(json!(9_999)))
    );
    bench.audit().await;
}

#[tokio::test]
async fn items_under_way_are_never_more_than_allowed_and_start_in_order() {
    let (bench, run) = expanded(7, Some(3)).await;
    let mut begun = Vec::new();
    while bench.state(run).await == RunState::Running {
        let claims = bench.claim(9).await;
        assert!(claims.len() <= 3);
        bench.audit().await;
        for claim in claims {
            begun.extend(claim.item());
            assert!(bench.report(&claim, Outcome::Succeeded).await);
        }
    }
    assert_eq!(begun, (0..7).collect::<Vec<u32>>());
    assert_eq!(bench.state(run).await, RunState::Succeeded);
    bench.audit().await;
}

#[tokio::test]
async fn a_run_with_ten_thousand_items_is_cancelled_at_once() {
    let (bench, run) = expanded(10_000, Some(10)).await;
    let held = bench.claim(4).await;
    assert!(
        bench
            .store
            .cancel_run(run, Reason::Requested, bench.now)
            .await
            .unwrap()
    );
    assert_eq!(bench.state(run).await, RunState::Cancelling);
    for claim in held {
        assert!(bench.report(&claim, Outcome::Stopped).await);
    }
    assert_eq!(bench.state(run).await, RunState::Cancelled);
    bench.audit().await;
}
