#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tidegate_engine::plugin::TaskError;

use crate::lake::write::Event;
use crate::lake::{DAY, Lake, write};
use crate::testing::Bench;

const UNTIL: &str = "2026-11-24T00:00:00Z";

fn until() -> i64 {
    UNTIL.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

/// An event of so many days ago (its noon), that arrived at once.
fn event(id: i64, days_ago: i64) -> Event {
    let ts = until() - days_ago * DAY + DAY / 2;
    Event {
        event_id: id,
        user_id: Some((id % 5) as i32),
        item_id: Some((id % 7) as i32),
        event_type: Some("view".into()),
        value: Some(0.5),
        ts: Some(ts),
        arrived: ts,
    }
}

fn dirty() -> Lake {
    let mut events: Vec<Event> = (0..100).map(|id| event(id, 1 + id % 10)).collect();
    events.push(event(3, 4));
    events.push(Event {
        user_id: None,
        ..event(200, 2)
    });
    events.push(Event {
        value: None,
        event_type: None,
        ..event(201, 2)
    });
    events.push(Event {
        arrived: until() + DAY,
        ..event(202, 1)
    });
    Lake {
        events,
        deleted_users: vec![4],
        ..Lake::default()
    }
}

async fn lake(root: &std::path::Path, lake: &Lake) -> String {
    let uri = format!("file://{}", root.display());
    write(lake, &uri, &BTreeMap::new()).await.unwrap();
    uri
}

fn with(source: &str, days: u32) -> Value {
    json!({"source": source, "days": days, "until": UNTIL})
}

#[tokio::test]
async fn a_dirty_lake_is_counted_and_cleaned() {
    let bench = Bench::new();
    let uri = lake(&bench.root.path().join("lake"), &dirty()).await;
    let mut input = with(&uri, 10);
    input["deletion_list"] = json!(format!("{uri}/gdpr/deleted_users.txt"));
    let output = bench.run("data_pull", input).await.unwrap();
    assert_eq!(output["duplicates"], 1, "{output}");
    assert_eq!(output["incomplete"], 1);
    assert_eq!(output["late"], 1);
    assert_eq!(output["erased"], 20);
    assert_eq!(output["rows"], 82);
    assert_eq!(output["users"], 4);
    assert_eq!(output["items"], 7);
    assert!(bench.host.lines().contains("1 rows left out"));
    assert_eq!(bench.host.seen().artifacts[0].name, "events");
    assert_eq!(output["snapshot"], output["events"]["digest"]);
}

#[tokio::test]
async fn the_window_ends_before_until_and_only_its_partitions_are_read() {
    let bench = Bench::new();
    let uri = lake(&bench.root.path().join("lake"), &dirty()).await;
    let output = bench.run("data_pull", with(&uri, 2)).await.unwrap();
    assert_eq!(output["rows"], 22);
    assert_eq!(
        output["partitions"], 3,
        "two days, and the one on which an event arrived late"
    );
    assert_eq!(output["from"], "2026-11-22T00:00:00Z");
    let mut no_late = with(&uri, 2);
    no_late["late_days"] = json!(0);
    assert_eq!(Bench::new().run("data_pull", no_late).await.unwrap()["rows"], 21);
}

#[tokio::test]
async fn a_key_that_the_source_makes_nothing_of_is_refused_where_its_address_is_known_only_now() {
    let mut bench = Bench::new();
    *bench.env() = [("EVENTS".to_owned(), "file:///nowhere".to_owned())].into();
    let mut odd = with("EVENTS", 2);
    odd["table"] = json!("events");
    let message = bench.run("data_pull", odd).await.unwrap_err().to_string();
    assert!(message.contains("`table` has no effect on a lake"), "{message}");
}

#[tokio::test]
async fn the_snapshot_depends_on_content_alone() {
    let bench = Bench::new();
    let mut turned = dirty();
    turned.events.reverse();
    let one = lake(&bench.root.path().join("one"), &dirty()).await;
    let two = lake(&bench.root.path().join("two"), &turned).await;
    let first = Bench::new().run("data_pull", with(&one, 10)).await.unwrap();
    let second = Bench::new().run("data_pull", with(&two, 10)).await.unwrap();
    assert_eq!(first["snapshot"], second["snapshot"]);
    turned.events[0].value = Some(0.75);
    let three = lake(&bench.root.path().join("three"), &turned).await;
    let third = Bench::new().run("data_pull", with(&three, 10)).await.unwrap();
    assert_ne!(first["snapshot"], third["snapshot"]);
}

#[tokio::test]
async fn event_types_choose_and_wrong_sources_say_the_way_out() {
    let bench = Bench::new();
    let uri = lake(&bench.root.path().join("lake"), &dirty()).await;
    let mut none = with(&uri, 10);
    none["event_types"] = json!(["complete"]);
    assert_eq!(bench.run("data_pull", none).await.unwrap()["rows"], 0);
    let mut missing = with(&uri, 10);
    missing["deletion_list"] = json!(format!("{uri}/gdpr/nobody.txt"));
    let cases = [
        (missing, "nobody.txt"),
        (with("EVENTS", 3), "no variable"),
        (with("file:///nowhere-at-all", 3), "nowhere"),
    ];
    for (input, expected) in cases {
        let Err(TaskError::Fail { message }) = Bench::new().run("data_pull", input).await else {
            panic!("{expected}")
        };
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn a_stopped_pull_says_so() {
    let bench = Bench::new();
    let uri = lake(&bench.root.path().join("lake"), &dirty()).await;
    bench.cancel.cancel();
    assert_eq!(
        bench.run("data_pull", with(&uri, 10)).await,
        Err(TaskError::Cancelled)
    );
}

#[tokio::test]
async fn two_s3_servers_give_what_a_folder_gives() {
    let here = Bench::new();
    let uri = lake(&here.root.path().join("lake"), &dirty()).await;
    let expected = here.run("data_pull", with(&uri, 10)).await.unwrap();
    for server in [
        tidegate_test_fixtures::s3::S3::s3s(),
        tidegate_test_fixtures::s3::S3::moto(),
    ] {
        let mut bench = Bench::new();
        bench
            .env()
            .extend(server.env().into_iter().map(|(k, v)| (k.to_owned(), v)));
        let root = format!("s3://{}/lake", server.bucket());
        write(&dirty(), &root, &bench.ctx.env).await.unwrap();
        let output = bench.run("data_pull", with(&root, 10)).await.unwrap();
        assert_eq!(output["snapshot"], expected["snapshot"]);
        assert_eq!(output["late"], expected["late"]);
        let Err(TaskError::Fail { message }) = bench
            .run("data_pull", with("s3://no-such-bucket-here/x", 1))
            .await
        else {
            panic!("a bucket that is not there")
        };
        assert!(message.contains("no-such-bucket-here"), "{message}");
    }
}

/// The rows of a lake as a table `learning.events`.
async fn table(url: &str, lake: &Lake) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let create = "CREATE SCHEMA learning; CREATE TABLE learning.events (event_id bigint, user_id integer, item_id integer, \
                  event_type text, value real, ts timestamptz)";
    sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
    for event in &lake.events {
        let insert = "INSERT INTO learning.events VALUES ($1, $2, $3, $4, $5, 'epoch'::timestamptz + $6 * interval '1 microsecond')";
        sqlx::query(insert)
            .bind(event.event_id)
            .bind(event.user_id)
            .bind(event.item_id)
            .bind(&event.event_type)
            .bind(event.value)
            .bind(event.ts)
            .execute(&mut connection)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn postgresql_gives_what_a_folder_gives() {
    let here = Bench::new();
    let uri = lake(&here.root.path().join("lake"), &dirty()).await;
    let list = format!("{uri}/gdpr/deleted_users.txt");
    let mut input = with(&uri, 10);
    input["deletion_list"] = json!(list);
    let expected = here.run("data_pull", input).await.unwrap();

    let database = tidegate_test_fixtures::postgres::database().await;
    table(&database.url, &dirty()).await;
    let mut bench = Bench::new();
    bench
        .env()
        .insert("LEARNING_DATABASE".into(), database.url.clone());
    let mut input = with("LEARNING_DATABASE", 10);
    (input["table"], input["deletion_list"]) = (json!("learning.events"), json!(list));
    let output = bench.run("data_pull", input.clone()).await.unwrap();
    for name in [
        "rows",
        "users",
        "items",
        "duplicates",
        "erased",
        "incomplete",
        "snapshot",
    ] {
        assert_eq!(output[name], expected[name], "{name}");
    }
    input["event_types"] = json!(["complete"]);
    assert_eq!(bench.run("data_pull", input.clone()).await.unwrap()["rows"], 0);

    for (name, expected) in [
        ("learning.nothing", "learning.nothing"),
        ("events; DROP TABLE x", "is no table"),
    ] {
        input["table"] = json!(name);
        let refused = bench.run("data_pull", input.clone()).await;
        assert!(
            matches!(&refused, Err(TaskError::Fail { message }) if message.contains(expected)),
            "{refused:?}"
        );
    }
    let away = Bench::new()
        .run("data_pull", with("postgres://127.0.0.1:9/x", 1))
        .await;
    assert!(
        matches!(&away, Err(TaskError::Retry { message }) if message.contains("127.0.0.1:9/x")),
        "{away:?}"
    );
}

/// Days of 200,000 events: a million in every run of the tests, fifty million with `TIDEGATE_TEST_DAYS=250` (flows/README.md).
#[expect(clippy::disallowed_methods, reason = "a test may be told its size")]
fn days() -> i64 {
    std::env::var("TIDEGATE_TEST_DAYS").map_or(5, |days| days.parse().unwrap())
}

#[tokio::test]
async fn a_million_rows_pass_through_bounded_memory() {
    const DAILY: i64 = 200_000;
    let bench = Bench::new();
    let root = bench.root.path().join("lake");
    let mut source = String::new();
    for day in 1..=days() {
        let at = |i: i64| Event {
            event_id: day * DAILY + i,
            user_id: Some((i * 7919 % 100_000) as i32),
            ..event(i, day)
        };
        source = lake(
            &root,
            &Lake {
                events: (0..DAILY).map(at).collect(),
                ..Lake::default()
            },
        )
        .await;
    }
    let input = with(&source, days().try_into().unwrap());
    let output = bench.run("data_pull", input).await.unwrap();
    assert_eq!(
        (&output["rows"], &output["users"]),
        (&json!(days() * DAILY), &json!(100_000))
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .unwrap();
    println!("{} rows, {peak} kB at most", days() * DAILY);
    assert!(peak.parse::<u64>().unwrap() < 512 << 10, "{peak} kB");
}
