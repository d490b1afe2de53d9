//! Flows that run flows.

use std::time::Duration;

use tidegate_test_fixtures::wait;

use super::{SOON, alone, example, flow, json, refused, served, shell};

#[test]
fn a_flow_runs_others_and_goes_on_with_what_they_handed_on() {
    let tidegate = alone();
    let file = example("sub-flow");
    let done = tidegate.run(&["run", file.to_str().unwrap(), "--watch"]);
    assert_eq!(done.code(), 0, "{done:?}");
    for said in [
        "✓ train",
        "✓ once",
        "of sub-flow-train v1: succeeded",
        "✓ compare",
    ] {
        assert!(done.stdout.contains(said), "{said}: {done:?}");
    }
}

#[tokio::test]
async fn parent_and_sub_run_name_each_other_and_are_stopped_together() {
    let served = served().await;
    flow(&served, "inner", &shell("long", "sleep 300"));
    let outer = flow(
        &served,
        "outer",
        "[tasks.sub]\nuses = \"flow\"\nwith = { flow = \"inner\" }\n",
    );
    refused(
        &served.run(&["apply", &outer]),
        2,
        &["runs flow `inner`, and there is none"],
    );
    let home = served.home().display().to_string();
    let applied = served.run(&["apply", &outer, &format!("{home}/inner.toml")]);
    assert_eq!(applied.code(), 0, "{applied:?}");
    let run = served.start(&["outer"]);
    let child = wait::until("the sub-run", SOON, || {
        let shown = json(&served.run(&["show", &run, "-o", "json"]));
        let task = &shown["tasks"][0];
        (task["reason"] == "sub_run").then(|| task["sub_runs"][0]["run"].as_str().unwrap().to_owned())
    });
    let made = json(&served.run(&["show", &child, "-o", "json"]));
    assert_eq!(made["parent"]["run"], run.as_str());
    assert_eq!(made["parent"]["flow"], "outer");
    assert_eq!(made["trigger"], "flow");
    let last = json(&served.run(&["show", "last", "-o", "json"]));
    assert_eq!(last["id"], run.as_str(), "the one that somebody asked for");
    let why = served.run(&["why", &run]);
    assert!(
        why.stdout.contains("it waits for run") && why.stdout.contains("of inner"),
        "{why:?}"
    );
    assert!(served.run(&["show", &child]).stdout.contains("for sub of outer"));
    assert_eq!(served.run(&["cancel", &run]).code(), 0);
    wait::until("the sub-run's end", Duration::from_secs(15), || {
        let shown = json(&served.run(&["show", &child, "-o", "json"]));
        (shown["state"] == "cancelled" && shown["reason"] == "parent_ended").then_some(())
    });
}

#[tokio::test]
async fn a_cancelled_map_of_sub_runs_stops_them_all() {
    let served = served().await;
    let inner =
        "max_active = 5\n\n[params.n]\ntype = \"integer\"\n\n".to_owned() + &shell("long", "sleep 300");
    let inner = flow(&served, "inner", &inner);
    let tasks = "[tasks.each]\nuses = \"flow\"\nfor_each = [1, 2, 3]\nwith = { flow = \"inner\", params = { n = \"{{ item }}\" } }\n";
    let outer = flow(&served, "outer", tasks);
    assert_eq!(served.run(&["apply", &inner, &outer]).code(), 0);
    let run = served.start(&["outer"]);
    let inner_runs = |state: &str| {
        let listed = json(&served.run(&["runs", "--flow", "inner", "--state", state, "-o", "json"]));
        listed["items"].as_array().unwrap().len()
    };
    wait::until("three sub-runs at work", SOON, || {
        (inner_runs("running") == 3).then_some(())
    });
    assert_eq!(served.run(&["cancel", &run]).code(), 0);
    wait::until("the end of all three", Duration::from_secs(15), || {
        (inner_runs("cancelled") == 3).then_some(())
    });
    wait::until("the end of their parent", SOON, || {
        let shown = json(&served.run(&["show", &run, "-o", "json"]));
        (shown["state"] == "cancelled").then_some(())
    });
}

#[tokio::test]
async fn a_retry_makes_sub_runs_anew_for_what_runs_again_only() {
    let served = served().await;
    let good = flow(&served, "good", &shell("t", "true"));
    let mended = served.home().join("mended");
    let bad = flow(
        &served,
        "bad",
        &shell("t", &format!("test -e {}", mended.display())),
    );
    let tasks = "[tasks.first]\nuses = \"flow\"\nwith = { flow = \"good\" }\n\n\
                 [tasks.second]\nuses = \"flow\"\nneeds = [\"first\"]\nwith = { flow = \"bad\" }\n";
    let outer = flow(&served, "outer", tasks);
    assert_eq!(served.run(&["apply", &good, &bad, &outer]).code(), 0);
    let run = served.start(&["outer"]);
    wait::until("the failure", SOON, || {
        let shown = json(&served.run(&["show", &run, "-o", "json"]));
        (shown["state"] == "failed").then_some(())
    });
    std::fs::write(&mended, "").unwrap();
    let runs_of = |flow: &str| {
        let listed = json(&served.run(&["runs", "--flow", flow, "-o", "json"]));
        listed["items"].as_array().unwrap().len()
    };
    let again = served.run(&["retry", &run, "--watch"]);
    assert_eq!(again.code(), 0, "{again:?}");
    assert_eq!(
        (runs_of("good"), runs_of("bad")),
        (1, 2),
        "what had succeeded was carried over"
    );
    let from = served.run(&["retry", &run, "--from", "first", "--watch"]);
    assert_eq!(from.code(), 0, "{from:?}");
    assert_eq!(
        (runs_of("good"), runs_of("bad")),
        (2, 3),
        "from there on all runs again"
    );
}

#[tokio::test]
async fn a_task_ends_like_the_run_that_it_made() {
    let served = served().await;
    flow(&served, "fails", &shell("t", "exit 1"));
    let gate = "[[tasks.t.gate.rule]]\nmetric = \"{{ tasks.m.score }}\"\nabove = 1\n";
    let measures = "[tasks.m]\nuses = \"command\"\nwith = { shell = '''\necho '{\"v\": 1, \"outputs\": {\"score\": 0.5}}' > \"$TIDEGATE_OUTPUT\"\n''', outputs = { score = \"number\" } }\n\n";
    flow(
        &served,
        "rejects",
        &format!("{measures}[tasks.t]\nuses = \"approval\"\n{gate}"),
    );
    for (inner, code) in [("fails", 1), ("rejects", 3)] {
        let tasks = format!("[tasks.sub]\nuses = \"flow\"\nwith = {{ flow = \"{inner}\" }}\n");
        let outer = flow(&served, &format!("runs-{inner}"), &tasks);
        let done = served.run(&["run", &outer, "--watch"]);
        assert_eq!(done.code(), code, "{done:?}");
        assert!(done.stdout.contains(&format!("of {inner} ended")), "{done:?}");
    }
}

#[test]
fn a_check_knows_the_flows_that_lie_together() {
    let tidegate = alone();
    let inner = "[params.days]\ntype = \"integer\"\nmax = 365\n\n[tasks.t]\nuses = \"wait\"\nwith = { for = \"1s\" }\n";
    flow(&tidegate, "inner", inner);
    let home = tidegate.home().display().to_string();
    let outer = |with: &str, rest: &str| {
        flow(
            &tidegate,
            "outer",
            &format!("[tasks.sub]\nuses = \"flow\"\nwith = {{ flow = \"inner\"{with} }}\n{rest}"),
        );
        tidegate.run(&["check", &home])
    };
    let wrong = |with: &str, rest: &str, said: &[&str]| {
        let done = outer(with, rest);
        assert_eq!(done.code(), 2, "{done:?}");
        for words in said {
            assert!(done.stdout.contains(words), "{words}: {done:?}");
        }
    };
    wrong("", "", &["needs the key `params`"]);
    wrong(
        ", params = { days = \"x\" }",
        "",
        &["`params.days` must be an integer"],
    );
    wrong(
        ", params = { days = 400 }",
        "",
        &["must be at most 365", "outer.toml:6"],
    );
    wrong(
        ", params = { dyas = 7, days = 1 }",
        "",
        &["unknown key `dyas`", "days"],
    );
    wrong(
        ", params = { days = 7 }, outputs = [\"u\"]",
        "",
        &["cannot be \"u\""],
    );
    wrong(
        ", params = { days = 7 }",
        "cache = { ttl = \"1d\" }\n",
        &["`cache` does not go with"],
    );
    let next = "\n[tasks.next]\nuses = \"wait\"\nwith = { until = \"{{ tasks.sub.outputs.t.lokos }}\" }\n";
    wrong(", params = { days = 7 }", next, &["no `lokos`", "looks"]);
    let next = "\n[tasks.next]\nuses = \"wait\"\nwith = { until = \"{{ tasks.sub.outputs.t.looks }}\" }\n";
    wrong(
        ", params = { days = 7 }",
        next,
        &["must be a string", "is an integer"],
    );
    assert_eq!(outer(", params = { days = 7 }", "").code(), 0);
    flow(
        &tidegate,
        "inner",
        "[tasks.back]\nuses = \"flow\"\nwith = { flow = \"outer\" }\n",
    );
    wrong("", "", &["would run itself for ever: outer → inner → outer"]);
    flow(
        &tidegate,
        "inner",
        "[tasks.back]\nuses = \"flow\"\nwith = { flow = \"roll-back\" }\n",
    );
    wrong("", "", &["no flow runs `roll-back`", "tidegate models rollback"]);
}
