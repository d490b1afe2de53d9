//! What a flow file may not carry: settings that would have no effect, and values that could never work.

use super::{alone, flow, refused, served};

/// The places and messages that `check` has for a flow `x` with these lines.
fn told(lines: &str) -> String {
    let tidegate = alone();
    let path = flow(&tidegate, "x", lines);
    let done = tidegate.run(&["check", &path]);
    let code = if done.stdout.contains("x.toml:") { 2 } else { 0 };
    assert_eq!(done.code(), code, "{done:?}");
    if code == 2 { done.stdout } else { String::new() }
}

/// `check` refuses these lines in one diagnostic with these words; the last is the place.
fn wrong(lines: &str, words: &[&str]) {
    let told = told(lines);
    for word in words {
        assert!(told.contains(word), "{word} of {lines}\nin {told}");
    }
    assert_eq!(told.matches("x.toml:").count(), 1, "{lines}\n{told}");
}

fn right(lines: &str) {
    assert_eq!(told(lines), "", "{lines}");
}

fn task(uses: &str, with: &str, keys: &str) -> String {
    format!("[tasks.t]\nuses = \"{uses}\"\nwith = {{ {with} }}\n{keys}\n")
}

const PROMOTE: &str = "model = \"m\", version = 1, alias = \"staging\"";

#[test]
fn what_acts_is_not_taken_from_a_cache() {
    let acts = [
        ("promote", PROMOTE),
        ("notify", "to = \"ops\", text = \"hello\""),
        ("approval", ""),
        ("wait", "for = \"1h\""),
        ("flow", "flow = \"other\""),
    ];
    for (uses, with) in acts {
        let said = format!("`cache` does not go with `uses = \"{uses}\"`");
        let cached = task(uses, with, "cache = { ttl = \"1d\" }");
        wrong(&cached, &[&said, "put `cache` on the tasks", "x.toml:7:1"]);
    }
    right(&task("command", "argv = [\"true\"]", "cache = { ttl = \"1d\" }"));
}

#[test]
fn executors_that_there_are_not_yet_are_named() {
    let program = "argv = [\"true\"]";
    right(&task("command", program, "executor = \"local\""));
    let said = [
        "tasks do not run on kubernetes yet",
        "`local` (workers) is what there is",
    ];
    wrong(&task("command", program, "executor = \"kubernetes\""), &said);
    wrong(
        &task("command", program, "[tasks.t.kubernetes]\nimage = \"x\""),
        &said,
    );
    wrong(
        &task("command", program, "[tasks.t.local]\nslots = 3"),
        &["`slots`", "`local` has no settings"],
    );
}

#[test]
fn values_that_can_never_work_are_told_before_a_run() {
    let programs = [
        ("", "no program is named"),
        ("argv = []", "`argv` is empty"),
        ("argv = [\"a\"], shell = \"b\"", "a task runs one program"),
    ];
    for (with, said) in programs {
        wrong(&task("command", with, ""), &[said, "argv = [\"PROGRAM\", …]"]);
    }
    wrong("[tasks.t]\nuses = \"command\"\n", &["no program is named"]);
    let waits = [
        ("", "nothing is named that could be waited for"),
        (
            "until = \"2027-01-01T00:00:00Z\", for = \"1h\"",
            "one thing is waited for",
        ),
        ("until = \"tomorrow\"", "`until` is no instant"),
        ("until = 2027-01-01", "`until` is no instant"),
        ("for = \"an hour\"", "`for` is no duration"),
        (
            "url = \"ftp://example.org\"",
            "`url` is no address that can be asked",
        ),
        ("object = \"s3://bucket\"", "`object` is no address of an object"),
        (
            "query = \"select true\", database = \"mysql://x/y\"",
            "no address of a PostgreSQL",
        ),
    ];
    for (with, said) in waits {
        wrong(&task("wait", with, ""), &[said]);
    }
    wrong(
        &task("http", "url = \"example.org\"", ""),
        &["`url` is no address", "write http://… or https://…"],
    );
    wrong(
        &task("http", "url = \"http://example.org\", timeout = \"5 m\"", ""),
        &["`timeout` is no duration"],
    );
    wrong(
        &task("sql", "url = \"mysql://x/y\", query = \"select 1\"", ""),
        &["no address of a PostgreSQL"],
    );
    wrong(
        &task("sql", "url = \"WAREHOUSE\"", ""),
        &["there is nothing to ask the database"],
    );
    wrong(
        &task(
            "data_pull",
            "source = \"file:///lake\", days = 1, until = \"today\"",
            "",
        ),
        &["`until` is no instant"],
    );
}

#[test]
fn what_only_a_run_knows_is_left_to_it() {
    let param =
        "[params.p]\ntype = \"string\"\ndefault = \"x\"\n[params.words]\ntype = \"list\"\ndefault = []\n";
    for (uses, with) in [
        ("command", "argv = \"{{ params.words }}\""),
        ("wait", "until = \"{{ params.p }}\""),
        ("wait", "until = 2027-01-01T00:00:00Z"),
        ("wait", "url = \"{{ params.p }}/healthz\""),
        ("wait", "object = \"file:///tmp/done\""),
        ("http", "url = \"{{ params.p }}\", timeout = \"{{ params.p }}\""),
        ("sql", "url = \"{{ secrets.warehouse }}\", query = \"select 1\""),
        (
            "sql",
            "url = \"WAREHOUSE\", write = true, statements = [\"select 1\"]",
        ),
    ] {
        right(&format!("{param}{}", task(uses, with, "")));
    }
}

#[test]
fn keys_that_a_plugin_has_no_use_for_are_refused() {
    let env = "env = { A = \"b\" }";
    for (uses, with, key, said) in [
        (
            "approval",
            "",
            "timeout = \"1h\"",
            "`expires` in the `approval` of its gate",
        ),
        (
            "approval",
            "",
            "pool = \"desk\"",
            "while people think this task holds no slot",
        ),
        ("approval", "", env, "`env` has no effect"),
        ("wait", "for = \"1h\"", env, "`env` has no effect"),
        ("wait", "for = \"1h\"", "pool = \"desk\"", "no slot is held"),
        (
            "wait",
            "for = \"1h\"",
            "timeout = \"1m\"",
            "`timeout` bounds an attempt",
        ),
        ("flow", "flow = \"other\"", env, "`env` has no effect"),
        ("flow", "flow = \"other\"", "timeout = \"1h\"", "bound the run"),
        (
            "flow",
            "flow = \"other\"",
            "pool = \"desk\"",
            "bound the runs: `max_active`",
        ),
        ("notify", "to = \"ops\", text = \"x\"", env, "`env` has no effect"),
        ("http", "url = \"http://example.org\"", env, "`env` has no effect"),
    ] {
        wrong(&task(uses, with, key), &[said, "x.toml:7:1"]);
    }
    for key in ["every = \"1m\"", "at_most_every = \"1h\"", "timeout = \"2h\""] {
        wrong(
            &task("wait", &format!("for = \"1h\", {key}"), ""),
            &["an instant is waited for without looking", "x.toml:6:"],
        );
    }
    wrong(
        &task(
            "sql",
            "url = \"W\", statements = [\"select 1\"], params = [1]",
            "",
        ),
        &["without `query` `params` has no effect"],
    );
    // These have one: an attempt is claimed from a queue, may fail, and may lose its worker.
    let lives = "queue = \"gpu\"\non_worker_lost = \"fail\"\nretry = { attempts = 3 }";
    right(&task("approval", "", lives));
    right(&task("wait", "for = \"1h\"", lives));
    right(&task("flow", "flow = \"other\"", lives));
    let look = "query = \"select true\", database = \"W\", every = \"1m\"";
    right(&task(
        "wait",
        look,
        "pool = \"desk\"\nenv = { W = \"x\" }\ntimeout = \"1m\"",
    ));
}

#[test]
fn settings_of_a_flow_that_meet_nothing_are_refused() {
    let program = task("command", "argv = [\"true\"]", "");
    wrong(
        &format!("overlap = \"allow\"\n{program}"),
        &["this flow has no schedule", "x.toml:4:11"],
    );
    let schedule = "[[schedule]]\ncron = \"0 2 * * *\"\n";
    right(&format!("overlap = \"allow\"\n{schedule}{program}"));
    wrong(
        &format!("{schedule}missed = \"skip\"\nmissed_window = \"1h\"\n{program}"),
        &["no tick is made up for", "missed = \"latest\""],
    );
    wrong(
        &format!(
            "timeout = \"1h\"\n{}",
            task("command", "argv = [\"true\"]", "timeout = \"2h\"")
        ),
        &["a run of this flow ends after 1h", "lengthen `timeout` in [flow]"],
    );
    right(&format!(
        "timeout = \"1h\"\n{}",
        task("command", "argv = [\"true\"]", "timeout = \"1h\"")
    ));
    let notify = |on: &str, rest: &str| format!("[[notify]]\non = {on}\nto = \"ops\"\n{rest}");
    wrong(&notify("[]", &program), &["`on` is empty", "on = [\"failed\"]"]);
    wrong(
        &notify("[\"waiting\"]", &program),
        &[
            "no run of this flow ever waits for people",
            "put a gate on a task",
        ],
    );
    let sub_flow = task("flow", "flow = \"other\"", "");
    right(&notify("[\"waiting\"]", &sub_flow));
    right(&notify(
        "[\"waiting\"]",
        &format!("{program}[tasks.t.gate.approval]\n"),
    ));
}

#[test]
fn rules_that_no_number_passes_together_are_refused() {
    let measured = "[tasks.m]\nuses = \"command\"\nwith = { argv = [\"true\"], outputs = { q = \"number\", any = \"object\" } }\n";
    let gate = |one: &str, other: &str| {
        let rule = |bound: &str| format!("[[tasks.t.gate.rule]]\nmetric = {bound}\n");
        let tasks = task("approval", "", "");
        format!("{measured}{tasks}{}{}", rule(one), rule(other))
    };
    let q = "\"{{ tasks.m.q }}\"";
    for (one, other) in [
        ("above = 0.5", "below = 0.4"),
        ("at_least = 0.5", "below = 0.5"),
        ("at_most = 1", "above = 1.0"),
    ] {
        wrong(
            &gate(&format!("{q}\n{one}"), &format!("\"{{{{tasks.m.q}}}}\"\n{other}")),
            &["no number passes this rule and", "all must pass"],
        );
    }
    for (one, other) in [
        ("above = 0.4", "below = 0.5"),
        ("at_least = 0.5", "at_most = 0.5"),
        ("above = 0.5\nborderline = 0.2", "below = 0.4"),
    ] {
        right(&gate(&format!("{q}\n{one}"), &format!("{q}\n{other}")));
    }
    // An interval may be borderline to both: then a person decides.
    let any = "\"{{ tasks.m.any }}\"";
    let rules = (format!("{any}\nabove = 0.5"), format!("{any}\nbelow = 0.4"));
    right(&gate(&rules.0, &rules.1));
    let point = "\nuse = \"value\"";
    wrong(
        &gate(&(rules.0 + point), &(rules.1 + point)),
        &["no number passes this rule and `above = 0.5`"],
    );
}

#[test]
fn all_choices_are_named_and_the_nearest_first() {
    let http = |method: &str| {
        task(
            "http",
            &format!("url = \"http://a.example\", method = \"{method}\""),
            "",
        )
    };
    wrong(
        &http("post"),
        &["did you mean `POST`? it may also be: `GET`, `HEAD`, `PUT`"],
    );
    wrong(
        &http("FETCH"),
        &["it may be: `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`"],
    );
    wrong(
        &task("command", "argv = [\"true\"], outputs = { a = \"float\" }", ""),
        &[
            "`outputs.a` cannot be \"float\"",
            "`string`, `integer`, `number`, `boolean`, `list`, `object`",
        ],
    );
}

#[test]
fn a_mistake_is_told_once_and_where_it_is() {
    let program = "argv = [\"true\"]";
    wrong(
        &task("command", program, "retry = { attempts = \"3\", delay = \"1s\" }"),
        &["`attempts` must be an integer"],
    );
    wrong(
        &task("command", "argv = [\"x\", 5]", ""),
        &["`argv[1]` must be a string, this is an integer"],
    );
    wrong(
        &task("command", program, "needs = [5]"),
        &["`needs[0]` must be a string"],
    );
    wrong(
        &task("command", "shell = \"echo ${#NAME}\"", ""),
        &["comments (`{#`) do not exist here", "{{ '${#NAME}' }}"],
    );
    right(&task("command", "shell = \"echo {{ '${#NAME}' }}\"", ""));
}

#[tokio::test]
async fn who_runs_a_flow_that_is_not_there_is_told_which_file_and_the_nearest_name() {
    let tidegate = served().await;
    flow(&tidegate, "inner", &task("command", "argv = [\"true\"]", ""));
    flow(&tidegate, "caller", &task("flow", "flow = \"iner\"", ""));
    let home = tidegate.home().display().to_string();
    assert_eq!(tidegate.run(&["check", &home]).code(), 0);
    refused(
        &tidegate.run(&["apply", &home]),
        2,
        &[
            "caller.toml",
            "task `t` runs flow `iner`",
            "did you mean `inner`?",
        ],
    );
}
