//! Moving an alias back to what it pointed to before.

use tidegate_test_fixtures::wait;

use super::remote::Far;
use super::*;

/// `ranking_model@production` as it is after promotions of versions 1, 2 and 3.
const PROMOTED: [&str; 4] = [
    "insert into model (name, created_at) values ('ranking_model', now())",
    "insert into model_version (model, version, source, facts, created_at)
     select 'ranking_model', version, 's3://bucket/model', '{}'::jsonb, now() from generate_series(1, 4) as version",
    "insert into model_alias (model, alias, version, moved_at) values ('ranking_model', 'production', 3, now())",
    "insert into alias_move (model, alias, number, version, before, at, actor)
     select 'ranking_model', 'production', nth, nth, nullif(nth - 1, 0), now() - interval '1 day' + nth * interval '1 h', 'anna'
     from generate_series(1, 3) as nth",
];

const PLACE: &str = "ranking_model@production";

async fn promoted(far: Far) -> Far {
    for statement in PROMOTED {
        far.sql(statement).await;
    }
    far
}

fn production(tidegate: &Tidegate) -> Value {
    let models = json(&tidegate.run(&["models", "-o", "json"]));
    let aliases = models["items"][0]["aliases"].as_array().unwrap().clone();
    let found = aliases.into_iter().find(|alias| alias["alias"] == "production");
    found.unwrap()["version"].clone()
}

#[tokio::test]
async fn an_alias_goes_back_beside_the_database_and_through_a_server() {
    let far = promoted(Far::new().await).await;
    let here = [
        "models",
        "rollback",
        PLACE,
        "--reason",
        "answers are slow",
        "--watch",
    ];
    let done = far.served.run(&here);
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(done.stdout.contains("✓ move"), "{done:?}");
    assert_eq!(production(&far.served), 2);
    let otto = far.client("otto", "operator").await;
    let again = [
        "models", "rollback", PLACE, "--reason", "still", "--watch", "-o", "json",
    ];
    let run = json(&otto.run(&again));
    assert_eq!(
        (
            &run["flow"],
            &run["requester"],
            &run["state"],
            &run["params"]["version"]
        ),
        (
            &"roll-back".into(),
            &"otto".into(),
            &"succeeded".into(),
            &1.into()
        )
    );
    assert_eq!(production(&otto), 1);
    for tidegate in [&otto, &*far.served] {
        let end = tidegate.run(&["models", "rollback", PLACE, "--reason", "more"]);
        refused(&end, 6, &["pointed to nothing before v1"]);
    }
    let shown = otto.run(&["models", "history", "ranking_model"]);
    table(&shown, &["v3 → v2", "v2 → v1", "rollback: still"]);
    assert_eq!(
        shown.stdout,
        far.served.run(&["models", "history", "ranking_model"]).stdout
    );
    let exported = far.served.run(&["ledger", "export"]).stdout;
    for words in ["rollback_requested", "alias_moved", "answers are slow", "os:"] {
        assert!(exported.contains(words), "{words}: {exported}");
    }
    assert_eq!(far.served.run(&["ledger", "verify"]).code(), 0);
    let audited = far.served.run(&["doctor", "--audit"]).stdout;
    assert!(audited.contains("everything that must hold holds"), "{audited}");
}

#[tokio::test]
async fn what_does_not_go_back_is_refused_alike_by_both_ways() {
    let far = promoted(Far::new().await).await;
    let anna = far.client("anna", "approver").await;
    for tidegate in [&anna, &*far.served] {
        let back = |words: &[&str]| tidegate.run(&[&["models", "rollback"], words].concat());
        refused(
            &back(&[PLACE, "--to", "v4", "--reason", "x"]),
            6,
            &["never pointed to v4, only to v2, v1"],
        );
        refused(
            &back(&[PLACE, "--to", "3", "--reason", "x"]),
            6,
            &["points to v3 already"],
        );
        refused(
            &back(&["ranking_modle@production", "--reason", "x"]),
            6,
            &["did you mean `ranking_model`?"],
        );
        refused(
            &back(&["ranking_model@producton", "--reason", "x"]),
            6,
            &["did you mean `production`?"],
        );
        refused(&back(&[PLACE, "--reason", " "]), 2, &["say why"]);
        refused(&back(&[PLACE]), 2, &["--reason"]);
        refused(&back(&["ranking_model", "--reason", "x"]), 2, &["NAME@ALIAS"]);
    }
    let vera = far.client("vera", "viewer").await;
    let viewer = vera.run(&["models", "rollback", PLACE, "--reason", "x"]);
    refused(&viewer, 6, &["neither the role operator nor approver"]);
    assert_eq!(
        json(&anna.run(&["runs", "-o", "json"]))["items"],
        serde_json::json!([])
    );
    let file = flow(&far.served, "roll-back", &shell("t", "true"));
    refused(
        &far.served.run(&["apply", &file]),
        2,
        &["brings along", "call it something else"],
    );
}

#[tokio::test]
async fn an_alias_that_moved_before_the_run_came_to_it_stays_where_it_is() {
    let database = database().await;
    let tidegate = alone().env("DATABASE_URL", &database.url);
    let served = Served {
        database: Some(database),
        ..serve_as(tidegate, &["server", "--bind", "127.0.0.1:0"])
    };
    let far = promoted(Far::of(served).await).await;
    let back = ["models", "rollback", PLACE, "--reason", "answers are slow"];
    let made = json(&far.served.run(&[&back[..], &["-o", "json"]].concat()));
    let run = made["id"].as_str().unwrap();
    refused(
        &far.served.run(&back),
        6,
        &["is being rolled back already, by run", run],
    );
    far.sql("update model_alias set version = 4 where alias = 'production'")
        .await;
    let mut worker = far.served.spawn(&["worker"]);
    worker.wait_for_line("worker is up", SOON);
    let ended = far.served.run(&["show", run, "--watch"]);
    assert_eq!(ended.code(), 1, "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("points to v4 by now, not to v3 as it must: nothing was moved"),
        "{ended:?}"
    );
    assert_eq!(production(&far.served), 4);
    refused(&far.served.run(&["retry", run]), 6, &["models rollback"]);
}

#[tokio::test]
async fn a_yes_without_a_reason_during_a_freeze_is_told_that_it_waits() {
    let far = promoted(Far::new().await).await;
    let tasks = "[tasks.production]\nuses = \"promote\"\n\
        with = { model = \"ranking_model\", version = 4, alias = \"production\" }\n\n\
        [tasks.production.gate.approval]\nwhen = \"always\"\nexpires = \"1h\"\n";
    let file = flow(&far.served, "ship", tasks);
    assert_eq!(far.served.run(&["apply", &file]).code(), 0);
    let anna = far.client("anna", "approver").await;
    let asked = |id: &str| {
        wait::until("the run's question", SOON, || {
            let run = json(&far.served.run(&["show", id, "-o", "json"]));
            (run["state"] == "waiting").then_some(())
        });
    };
    far.served
        .run(&["freeze", "add", "--until", "3d", "--reason", "month end"]);
    let id = far.served.start(&["ship"]);
    asked(&id);
    let yes = anna.run(&["approve", &id]);
    assert!(yes.code() == 0 && yes.stdout.contains("approved"), "{yes:?}");
    for word in [
        "production waits",
        "month end",
        "--comment",
        "tidegate freeze end",
    ] {
        assert!(yes.stderr.contains(word), "{word}: {yes:?}");
    }
    far.served.run(&["cancel", &id]);
    let id = far.served.start(&["ship"]);
    asked(&id);
    let yes = anna.run(&["approve", &id, "--comment", "it cannot wait"]);
    assert!(yes.code() == 0 && yes.stderr.is_empty(), "{yes:?}");
    assert_eq!(far.served.run(&["show", &id, "--watch"]).code(), 0);
    assert_eq!(production(&far.served), 4);
}
