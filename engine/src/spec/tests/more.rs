//! Single mistakes, and texts that no author would write.

use proptest::prelude::*;

use super::*;

#[test]
fn every_problem_of_a_file_is_told_at_once() {
    let found = problems(
        "ovrlap = \"skip\"\nmax_active = 0\ntimeout = \"1 h\"\n[tasks.a]\nuses = \"trian\"\nneeds = [\"bse\"]\n[tasks.b]\nwith = 3\n",
    );
    let codes: Vec<&str> = found.iter().map(|p| p.split(':').next().unwrap()).collect();
    assert_eq!(
        codes,
        [
            "unknown-key",
            "wrong-value",
            "bad-duration",
            "unknown-plugin",
            "unknown-task",
            "missing-key",
            "wrong-type",
        ]
    );
}

#[test]
fn the_name_of_the_flow_that_rolls_back_is_taken() {
    let text = "[flow]\nname = \"roll-back\"\n[tasks.a]\nuses = \"data_pull\"\nwith = { source = \"s\", days = 1 }\n";
    let found = check_text("roll-back", text).expect_err("the name is taken");
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "roll-back.toml:2:8 `roll-back` is the name of a flow that Tidegate brings along; call it something else, and the file too"
        ]
    );
}

#[test]
fn tasks_run_on_workers_and_elsewhere_not_yet() {
    let task = |lines: &str| {
        let task = "uses = \"data_pull\"\nwith = { source = \"s\", days = 1 }";
        problems(&format!("[tasks.a]\n{task}\n{lines}\n"))
    };
    assert_eq!(task("executor = \"local\"\nlocal = {}"), [""; 0]);
    assert_eq!(
        task("executor = \"ray\"\n[tasks.a.kubernetes]\nimage = \"x\""),
        [
            "not-yet: tasks do not run on ray yet",
            "not-yet: tasks do not run on kubernetes yet"
        ]
    );
    assert_eq!(
        task("executor = \"docker\"\nlocal = { slots = 2 }"),
        [
            "wrong-value: `executor` knows no \"docker\"",
            "unknown-key: unknown key `slots` in `local`"
        ]
    );
    assert_eq!(
        task("executor = 3"),
        ["wrong-type: `executor` must be a string, this is an integer"]
    );
}

#[test]
fn a_notify_names_moments_that_come_and_a_channel() {
    let task = "[tasks.a]\nuses = \"data_pull\"\nwith = { source = \"s\", days = 1 }\n";
    let told = |notify: &str| problems(&format!("[[notify]]\n{notify}\n{task}"));
    assert_eq!(told("on = [\"failed\"]\nto = \"ops\""), [""; 0]);
    let gate = "[tasks.a.gate.approval]\n";
    let waits = problems(&format!(
        "[[notify]]\non = [\"waiting\"]\nto = \"ops\"\n{task}{gate}"
    ));
    assert_eq!(waits, [""; 0]);
    assert_eq!(
        told("on = [\"waiting\"]\nto = \"ops\""),
        ["impossible-bound: no run of this flow ever waits for people"]
    );
    assert_eq!(
        told("on = []\nto = \"ops\""),
        ["without-effect: nothing is told: `on` is empty"]
    );
    assert_eq!(
        told("on = [\"faild\", \"overdue\"]\nto = \"ops team\""),
        [
            "wrong-value: `on` knows no \"faild\"",
            "impossible-bound: no run of this flow is ever overdue",
            "bad-name: `ops team` is no name of a channel",
        ]
    );
    assert_eq!(
        told("too = \"ops\""),
        [
            "missing-key: [[notify]] needs the key `on`",
            "missing-key: [[notify]] needs the key `to`",
            "unknown-key: unknown key `too` in [[notify]]",
        ]
    );
}

#[test]
fn secrets_stand_in_with_and_env_as_they_are_and_nowhere_else() {
    let good = "uses = \"data_pull\"\nwith = { source = \"{{ secrets.url }}\", days = 1 }\nenv = { T = \"Bearer {{ secrets.token }}\" }";
    assert_eq!(with(good), [""; 0]);
    let changed = "uses = \"data_pull\"\nwith = { source = \"{{ secrets.url | upper }}\", days = 1 }\nenv = { T = \"{{ secrets }}\", U = \"{{ secrets[params.p] }}\" }";
    let told = with(changed);
    assert_eq!(told, ["secret-changed: a secret is handed on as it is"; 3]);
    let elsewhere = "uses = \"data_pull\"\nwith = { source = \"s\", days = \"{{ secrets.days }}\" }\n[tasks.a.gate.approval]\nmessage = \"{{ secrets.token }}?\"";
    let told = with(elsewhere);
    assert!(
        told[0].starts_with("reference-type: `days` must be an integer"),
        "{told:?}"
    );
    assert_eq!(
        told[1..],
        ["secret-not-here: secrets are only for `with` and `env`"]
    );
}

#[test]
fn conditions_are_words_and_ask_for_the_ends_of_something() {
    let run_if = |lines: &str| {
        problems(&format!(
            "[tasks.a]\nuses = \"data_pull\"\nwith = {{ source = \"s\", days = 1 }}\n{lines}\n"
        ))
    };
    assert_eq!(
        run_if("needs = [\"base\"]\nrun_if = \"all_done\""),
        Vec::<String>::new()
    );
    assert_eq!(
        run_if("needs = [\"base\"]\nrun_if = \"always\""),
        ["wrong-value: `run_if` knows no \"always\""]
    );
    assert_eq!(
        run_if("run_if = \"any_failed\""),
        ["impossible-bound: `run_if` has no effect: task `a` needs nothing"]
    );
    assert_eq!(
        run_if("continue_on_failure = \"yes\""),
        ["wrong-type: `continue_on_failure` must be true or false, this is a string"]
    );
}

#[test]
fn a_condition_is_one_expression_of_known_names_that_can_be_true() {
    let when = |text: &str| {
        problems(&format!(
            "[params.full]\ntype = \"boolean\"\ndefault = true\n[params.p]\ntype = \"string\"\ndefault = \"d\"\n[tasks.a]\nuses = \"data_pull\"\nwith = {{ source = \"s\", days = 1 }}\nwhen = \"{text}\"\n"
        ))
    };
    for right in [
        "params.full",
        "params.p == 'd' and not params.full",
        "tasks.base.events.size > 0",
        "run.trigger != 'schedule'",
    ] {
        assert_eq!(when(right), Vec::<String>::new(), "{right}");
    }
    assert_eq!(
        when("params.p"),
        ["reference-type: `when` must be a boolean, but `params.p` is a string"]
    );
    assert_eq!(when("params.ful"), ["unknown-param: there is no param `ful`"]);
    assert_eq!(
        when("{{ params.full }}"),
        ["bad-template: this is an expression already: write it without braces"]
    );
    assert_eq!(when("tasks.a.events.size > 0"), ["cycle: cycle: a → a"]);
    assert_eq!(when(" "), ["bad-template: empty expression"]);
    assert!(when("params.full and")[0].starts_with("bad-template: unexpected end"));
}

#[test]
fn what_a_task_runs_for_is_a_list_and_its_outputs_are_lists() {
    let each = |lines: &str, source: &str, rest: &str| {
        problems(&format!(
            "[params.list]\ntype = \"list\"\ndefault = []\n[tasks.a]\nuses = \"data_pull\"\nwith = {{ source = \"{source}\", days = 1 }}\n{lines}\n{rest}\n"
        ))
    };
    for right in [
        "for_each = [\"a\", \"{{ params.list }}\"]\nmax_parallel = 2",
        "for_each = \"{{ params.list }}\"",
        "for_each = \"{{ [1, 2] + params.list }}\"",
    ] {
        assert_eq!(each(right, "{{ item }}", ""), Vec::<String>::new(), "{right}");
    }
    let plain = "for_each = [\"a\"]";
    let bad = |lines: &str| each(lines, "s", "").remove(0);
    assert_eq!(
        bad("for_each = 3"),
        "wrong-type: `for_each` must be a list, this is an integer"
    );
    assert_eq!(
        bad("for_each = \"abc\""),
        "wrong-type: `for_each` must be a list, this is a string"
    );
    assert_eq!(
        bad("for_each = \"{{ tasks.base.events }}\""),
        "reference-type: `for_each` must be a list, but `tasks.base.events` is a table with `name`, `uri`, `size`, `sha256`"
    );
    assert_eq!(
        bad("max_parallel = 2"),
        "impossible-bound: `max_parallel` has no effect without `for_each`"
    );
    assert_eq!(
        bad("for_each = [1]\nmax_parallel = 0"),
        "wrong-value: `max_parallel` must be between 1 and 10000"
    );
    assert_eq!(
        bad("for_each = [1]\ngate = { approval = {} }"),
        "impossible-gate: task `a` runs for each item of a list, but a gate is asked once"
    );
    assert_eq!(
        each("", "{{ item }}", ""),
        ["unknown-name: there is no `item` here"]
    );
    assert_eq!(
        each("for_each = [1]\nwhen = \"item > 1\"", "s", ""),
        ["unknown-name: there is no `item` here"]
    );
    let after = |source: &str| {
        each(
            plain,
            "{{ item }}",
            &format!("[tasks.b]\nuses = \"data_pull\"\nwith = {{ source = \"{source}\", days = 1 }}"),
        )
    };
    assert_eq!(after("{{ tasks.a.events[0].uri }}"), Vec::<String>::new());
    assert_eq!(
        after("{{ tasks.a.events }}"),
        ["reference-type: `source` must be a string, but `tasks.a.events` is a list"]
    );
    assert_eq!(
        each(
            "for_each = \"{{ tasks.m.events }}\"",
            "{{ item.url }}",
            "[tasks.m]\nuses = \"data_pull\"\nwith = { source = \"s\", days = 1 }\nfor_each = [1]"
        ),
        ["unknown-field: `item` has no `url`"]
    );
}

#[test]
fn what_may_be_null_stands_only_where_null_may() {
    let pull = |keys: &str, source: &str| {
        problems(&format!(
            "[tasks.first]\nuses = \"data_pull\"\nwith = {{ source = \"s\", days = 1 }}\n{keys}\n[tasks.a]\nuses = \"data_pull\"\nwith = {{ source = \"{source}\", days = 1 }}\n"
        ))
    };
    let uri = "{{ tasks.first.events.uri }}";
    assert_eq!(pull("", uri), Vec::<String>::new());
    assert_eq!(
        pull("continue_on_failure = true", uri),
        [
            "maybe-absent: `source` must be a string, but `tasks.first.events.uri` is null when task `first` does not succeed"
        ]
    );
    assert_eq!(
        pull("continue_on_failure = true", "x{{ tasks.first.events.uri }}"),
        [
            "maybe-absent: `tasks.first.events.uri` is null when task `first` does not succeed, and a text cannot hold that"
        ]
    );
    let otherwise = "{{ tasks.first.events.uri if tasks.first.events.uri is not none else 's' }}";
    assert_eq!(
        pull("continue_on_failure = true", otherwise),
        Vec::<String>::new()
    );
    assert_eq!(
        with("uses = \"data_pull\"\nwith = { source = \"{{ tasks.base.events.uri }}\", days = 1 }\nrun_if = \"any_succeeded\"\nenv = { A = \"{{ tasks.base.events.uri }}\" }").len(),
        2
    );
}

#[test]
fn a_task_says_where_it_waits_or_is_told_what_is_wrong_with_it() {
    let task = |lines: &str| {
        let task = "uses = \"data_pull\"\nwith = { source = \"s\", days = 1 }";
        problems(&format!("priority = 7\n[tasks.a]\n{task}\n{lines}\n"))
    };
    assert_eq!(
        task("queue = \"gpu\"\npriority = -100\npool = \"desk\""),
        Vec::<String>::new()
    );
    assert_eq!(task("cache = { ttl = \"1d\" }"), Vec::<String>::new());
    assert_eq!(task("cache = {}"), ["missing-key: `cache` needs the key `ttl`"]);
    assert_eq!(
        task("cache = { ttl = \"1d\", by = \"with\" }"),
        ["unknown-key: unknown key `by` in `cache`"]
    );
    assert_eq!(
        task("priority = 101"),
        ["wrong-value: `priority` must be between -100 and 100"]
    );
    let name = task("queue = \"a b\"\npool = 3");
    assert!(
        name[0].starts_with("bad-name: a name starts with a letter"),
        "{name:?}"
    );
    assert!(
        name[1].starts_with("wrong-type: `pool` must be a string"),
        "{name:?}"
    );
    assert_eq!(
        task("prioritty = 3"),
        ["unknown-key: unknown key `prioritty` in task `a`"]
    );
}

#[test]
fn a_trigger_names_another_flow_and_ends_there_are() {
    let trigger = |lines: &str| {
        let task = "[tasks.a]\nuses = \"data_pull\"\nwith = { source = \"s\", days = 1 }";
        problems(&format!(
            "[[trigger]]\n{lines}\n[params.p]\ntype = \"string\"\ndefault = \"d\"\n{task}\n"
        ))
    };
    assert_eq!(
        trigger("on = \"flow\"\nflow = \"other\"\nstates = [\"failed\", \"rejected\"]"),
        Vec::<String>::new()
    );
    assert_eq!(
        trigger("on = \"flow\""),
        ["missing-key: [[trigger]] needs the key `flow`"]
    );
    assert_eq!(
        trigger("on = \"clock\"\nflow = \"other\""),
        ["wrong-value: `on` knows no \"clock\""]
    );
    assert_eq!(
        trigger("on = \"flow\"\nflow = \"other\"\nstates = [\"succeded\"]"),
        ["wrong-value: no run ends `succeded`"]
    );
    assert_eq!(
        trigger("on = \"flow\"\nflow = \"other\"\n[params.q]\ntype = \"string\""),
        [
            "missing-param: param `q` has no default, and nobody gives it a value in a run that follows another"
        ]
    );
}

#[test]
fn a_webhook_names_its_secret_and_knows_the_message_alone() {
    let webhook = |lines: &str| {
        let task = "[tasks.a]\nuses = \"data_pull\"\nwith = { source = \"s\", days = 1 }";
        problems(&format!(
            "[[trigger]]\non = \"webhook\"\n{lines}\n[params.p]\ntype = \"integer\"\n{task}\n"
        ))
    };
    let whole = "secret = \"HOOK\"\nsender = \"mlflow\"\nwhen = \"body.data.alias == 'production'\"\nparams = { p = \"{{ body.n }}\" }";
    assert_eq!(webhook(whole), Vec::<String>::new());
    assert_eq!(
        webhook("secret = \"HOOK\"\nparams = { p = 3 }"),
        Vec::<String>::new()
    );
    assert_eq!(
        webhook("params = { p = 3 }"),
        ["missing-key: [[trigger]] needs the key `secret`"]
    );
    assert_eq!(
        webhook("secret = \"my hook\"\nparams = { p = 3 }"),
        ["bad-name: `my hook` is no name of a secret"]
    );
    assert_eq!(
        webhook("secret = \"HOOK\"\nsender = \"gitlab\"\nparams = { p = 3 }"),
        ["wrong-value: `sender` knows no \"gitlab\""]
    );
    assert_eq!(
        webhook("secret = \"HOOK\""),
        ["missing-param: this trigger gives no value for param `p`, which has no default"]
    );
    assert_eq!(
        webhook("secret = \"HOOK\"\nparams = { p = \"{{ params.p }}\" }\nwhen = \"secrets.HOOK == 'x'\""),
        [
            "unknown-name: there is no `params` here",
            "unknown-name: there is no `secrets` here"
        ]
    );
    assert_eq!(
        webhook("secret = \"HOOK\"\nflow = \"other\"\nparams = { p = 3 }"),
        ["unknown-key: unknown key `flow` in [[trigger]]"]
    );
    assert_eq!(
        webhook(
            "secret = \"HOOK\"\nparams = { p = 3 }\n[[trigger]]\non = \"webhook\"\nsecret = \"HOOK\"\nparams = { p = 3 }"
        ),
        ["duplicate-name: the flow has a webhook already"]
    );
}

fn with(line: &str) -> Vec<String> {
    problems(&format!(
        "[params.p]\ntype = \"string\"\ndefault = \"d\"\n[tasks.a]\n{line}\n"
    ))
}

#[test]
fn references_are_judged_where_they_can_be_known() {
    let pull = |source: &str| {
        with(&format!(
            "uses = \"data_pull\"\nwith = {{ source = \"{source}\", days = 1 }}"
        ))
    };
    assert_eq!(
        pull("{{ params.p }}/{{ run.scheduled_for }}"),
        Vec::<String>::new()
    );
    assert_eq!(pull("{{ params.q }}"), ["unknown-param: there is no param `q`"]);
    assert_eq!(pull("{{ vars.q }}"), ["unknown-var: there is no var `q`"]);
    assert_eq!(
        pull("{{ secret.q }}"),
        ["unknown-name: there is no `secret` here"]
    );
    assert_eq!(pull("{{ run.nam }}"), ["unknown-field: `run` has no `nam`"]);
    assert_eq!(
        pull("{{ tasks.bse.events }}"),
        ["unknown-task: there is no task `bse`"]
    );
    assert_eq!(
        pull("{{ tasks.base.events.ur }}"),
        ["unknown-field: `tasks.base.events` has no `ur`"]
    );
    assert_eq!(pull("{{ tasks.base.events.uri }}"), Vec::<String>::new());
    let artifact = "a table with `name`, `uri`, `size`, `sha256`";
    assert_eq!(
        pull("{{ tasks.base.events }}"),
        [format!(
            "reference-type: `source` must be a string, but `tasks.base.events` is {artifact}"
        )]
    );
    assert_eq!(
        pull("{% raw %}")[0],
        "bad-template: statements (`{%`) do not exist here; as a text write {{ '{%' }}"
    );
    assert_eq!(pull("{{ tasks.a.events.uri }}"), ["cycle: cycle: a → a"]);
    assert_eq!(
        pull("${TIDEGATE_VAR_X}"),
        ["bad-variable: variables are read only in `[vars]`"]
    );
}

#[test]
fn inputs_are_judged_by_the_schema() {
    let train = |rest: &str| {
        with(&format!(
            "uses = \"train\"\nwith = {{ features = \"{{{{ tasks.x.table }}}}\", {rest} }}\n[tasks.x]\nuses = \"feature_build\"\nwith = {{ events = \"{{{{ tasks.base.events }}}}\" }}"
        ))
    };
    assert_eq!(train("kind = \"ranking\""), Vec::<String>::new());
    assert_eq!(
        train("kind = \"rankin\""),
        ["wrong-value: `kind` cannot be \"rankin\""]
    );
    assert_eq!(
        train("kind = \"ranking\", seed = -1"),
        ["wrong-value: `seed` must be at least 0"]
    );
    assert_eq!(
        train("kind = \"ranking\", seed = 1.5"),
        ["wrong-type: `seed` must be an integer, this is a number"]
    );
    assert_eq!(
        train("kind = \"ranking\", seed = nan"),
        [
            "wrong-type: `seed` must be an integer, this is a number",
            "not-finite: `with.seed` must be a finite number",
        ]
        .iter()
        .rev()
        .copied()
        .collect::<Vec<_>>()
    );
    assert_eq!(
        train("kind = \"ranking\", seed = \"{{ params.p }}\""),
        ["reference-type: `seed` must be an integer, but `params.p` is a string"]
    );
    assert_eq!(train("kind = \"{{ params.p }}\""), Vec::<String>::new());
    assert_eq!(
        train("seed = \"a {{ run.id }}\""),
        [
            "missing-key: `with` needs the key `kind`",
            "reference-type: `seed` must be an integer, but text around `{{ … }}` makes it a string",
        ]
    );
    assert_eq!(
        with("uses = \"train\""),
        [
            "missing-key: `with` needs the key `kind`",
            "missing-key: `with` needs the key `features`"
        ]
    );
}

#[test]
fn a_program_has_the_outputs_it_declares() {
    let program = |output: &str| {
        with(&format!(
            "uses = \"command\"\nwith = {{ argv = [\"true\"], outputs = {{ n = \"integer\" }} }}\n[tasks.c]\nuses = \"data_pull\"\nwith = {{ source = \"s\", days = \"{{{{ tasks.a.{output} }}}}\" }}"
        ))
    };
    assert_eq!(program("n"), Vec::<String>::new());
    assert_eq!(
        program("m"),
        ["unknown-output: task `a` (command) has no output `m`"]
    );
}

fn gate(lines: &str) -> Vec<String> {
    with(&format!(
        "uses = \"promote\"\nwith = {{ model = \"m\", version = 1, alias = \"a\" }}\n[tasks.e]\nuses = \"evaluate\"\nwith = {{ model = \"m\", holdout = \"h\" }}\n{lines}"
    ))
}

fn rule(lines: &str) -> Vec<String> {
    gate(&format!("[[tasks.a.gate.rule]]\n{lines}"))
}

#[test]
fn a_rule_that_cannot_be_judged_is_refused() {
    let metric = "metric = \"{{ tasks.e.metrics.x }}\"\n";
    assert_eq!(rule(&format!("{metric}above = 1")), Vec::<String>::new());
    assert_eq!(
        rule(&format!("{metric}above = 1\nbelow = 2")),
        ["impossible-rule: a rule has one bound, this has `above` and `below`"]
    );
    assert_eq!(rule(metric), ["impossible-rule: this rule has no bound"]);
    assert_eq!(rule("above = 1"), ["impossible-rule: this rule judges nothing"]);
    assert_eq!(
        rule(&format!("{metric}max_drop = \"10%\"")),
        ["impossible-rule: a drop or rise needs something it is relative to"]
    );
    assert_eq!(
        rule(&format!(
            "{metric}change = \"{{{{ tasks.e.change.x }}}}\"\nabove = 1"
        )),
        ["impossible-rule: a rule judges either `metric` or `change`, not both"]
    );
    assert_eq!(
        rule(&format!("{metric}above = inf")),
        ["not-finite: `above` must be a finite number"]
    );
    assert_eq!(
        rule(&format!("{metric}above = 1\nwithout_baseline = \"pass\"")),
        ["impossible-rule: `without_baseline` has no effect on a plain `metric`"]
    );
    assert_eq!(
        rule("change = \"{{ tasks.e.change.x }}\"\nmax_drop = 0.1"),
        ["wrong-type: `max_drop` must be a percentage"]
    );
    assert_eq!(
        rule("change = \"{{ tasks.e.change.x }}\"\nmax_drop = \"101%\""),
        ["impossible-rule: this rule could never fail"]
    );
    assert_eq!(
        rule("metric = \"about {{ tasks.e.verdict }}\"\nabove = 1"),
        ["impossible-rule: a rule judges a value, not a text"]
    );
    assert_eq!(
        rule("metric = \"{{ tasks.e.verdict }}\"\nabove = 1")[0]
            .split(':')
            .next(),
        Some("reference-type")
    );
    assert_eq!(
        gate("[tasks.a.gate]\n"),
        ["impossible-gate: this gate has neither a rule nor an approval"]
    );
}

#[test]
fn an_approval_that_nobody_can_give_is_refused() {
    let approval = |lines: &str| gate(&format!("[tasks.a.gate.approval]\n{lines}\n"));
    assert_eq!(
        approval("by = [\"user:ann\", \"user:bob\"]\nrequired = 2"),
        Vec::<String>::new()
    );
    assert_eq!(
        approval("by = [\"user:ann\"]\nrequired = 2"),
        ["impossible-rule: 2 people are required, but only 1 may approve"]
    );
    assert_eq!(approval("by = [\"ann\"]"), ["wrong-value: \"ann\" names nobody"]);
    assert_eq!(
        approval("by = []"),
        ["impossible-rule: nobody is named who could approve"]
    );
    assert_eq!(
        approval("when = \"borderline\""),
        ["impossible-rule: without a rule nothing is ever borderline: nobody would be asked"]
    );
    assert_eq!(
        approval("expires = \"1h\"\nremind = \"2h\"")[0].split(':').next(),
        Some("impossible-rule")
    );
    assert_eq!(
        gate("[tasks.a.gate]\nevidence = [\"base\"]\n[tasks.a.gate.approval]\n"),
        ["impossible-gate: task `base` need not have ended when this gate is judged"]
    );
}

#[test]
fn params_vars_and_schedules_are_judged() {
    assert_eq!(
        problems("[params.a]\ntype = \"integer\"\ndefault = \"x\"\n"),
        ["param-does-not-fit: param `a` must be an integer, this is \"x\""]
    );
    assert_eq!(
        problems("[params.a]\ntype = \"integr\"\n"),
        ["wrong-value: there is no type \"integr\""]
    );
    assert_eq!(
        problems("[params.a]\ntype = \"integer\"\nmin = 3\nmax = 2\n"),
        ["impossible-bound: `min` is above `max`: no value can fit"]
    );
    assert_eq!(
        problems("[params.a]\ntype = \"string\"\nmin = 3\n"),
        ["unknown-key: unknown key `min` in param `a`"]
    );
    assert_eq!(
        problems("[params.a-b]\ntype = \"string\"\n"),
        ["bad-name: `a-b` is no name for a param"]
    );
    assert_eq!(
        problems("[params.a]\ntype = \"date\"\ndefault = 2026-11-24\n"),
        Vec::<String>::new()
    );
    assert_eq!(
        problems("[vars]\na = \"${HOME}\"\nb = \"${TIDEGATE_VAR_NONE}\"\nc = [\"${TIDEGATE_VAR_PREFIX}\"]\n"),
        [
            "bad-variable: a flow file cannot read `HOME`",
            "unset-variable: `TIDEGATE_VAR_NONE` is not set",
        ]
    );
    let schedule = "[[schedule]]\ncron = \"0 2 * * *\"\n";
    assert_eq!(
        problems(&format!("{schedule}[params.a]\ntype = \"string\"\n")),
        ["missing-param: this schedule gives no value for param `a`, which has no default"]
    );
    assert_eq!(
        problems(&format!("{schedule}params = {{ b = 1 }}\n")),
        ["unknown-param: there is no param `b`"]
    );
    assert_eq!(
        problems(&format!("{schedule}{schedule}")),
        ["duplicate-name: another schedule is called `default`"]
    );
    assert_eq!(
        problems("expected = \"2h\"\ntimeout = \"1h\"\n")[0]
            .split(':')
            .next(),
        Some("impossible-bound")
    );
}

#[test]
fn names_equal_but_for_case_and_a_name_that_is_not_the_files_are_refused() {
    assert_eq!(
        problems("[tasks.Base]\nuses = \"command\"\nwith = { argv = [] }\n"),
        ["duplicate-task: task `base` differs from task `Base` only by case"]
    );
    let found = check_text(
        "y",
        "[flow]\nname = \"x\"\n[tasks.a]\nuses = \"command\"\nwith = { argv = [] }\n",
    )
    .unwrap_err();
    assert_eq!(
        found[0].message,
        "`flow.name` is \"x\", but the file is called y.toml"
    );
    assert_eq!((found[0].line, found[0].column, found[0].end_column), (2, 8, 11));
}

#[test]
fn places_are_right_behind_marks_line_ends_and_wide_letters() {
    let text = "\u{feff}[flow]\r\nname = \"x\"\r\ndescription = \"é\" \r\n[tasks.a]\r\nuses = \"data_pull\"\r\nwith = { days = 1, source = \"ü {{ params.q }}\" }\r\n";
    let found = check_text("x", text).unwrap_err();
    let at: Vec<_> = found
        .iter()
        .map(|d| (d.line, d.column, d.end_column, d.code.as_str()))
        .collect();
    assert_eq!(at, [(6, 42, 43, "unknown-param")]);
    let escaped = "[flow]\nname = \"x\"\n[tasks.a]\nuses = \"data_pull\"\nwith = { days = 1, source = \"\\t{{ params.q }}\" }\n";
    assert_eq!((check_text("x", escaped).unwrap_err()[0].line), 5);
    let multi = "[flow]\nname = \"x\"\n[tasks.a]\nuses = \"data_pull\"\n[tasks.a.with]\ndays = 1\nsource = \"\"\"\nab\n  {{ params.q }}\"\"\"\n";
    let found = check_text("x", multi).unwrap_err();
    assert_eq!((found[0].line, found[0].column), (9, 13));
}

#[test]
fn what_is_no_toml_is_told_once() {
    let codes = |text: &str| {
        check_text("x", text)
            .unwrap_err()
            .iter()
            .map(|d| d.code.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(""), ["empty-file"]);
    assert_eq!(codes("\n# nothing\n").len(), 2);
    assert_eq!(codes("[flow\nname = \"x\"\nfoo = = 3\n"), ["toml-syntax"]);
    assert_eq!(codes("a = \"\0\""), ["toml-syntax"]);
    assert_eq!(codes(&format!("a = {}", "[".repeat(100_000))), ["toml-syntax"]);
    assert_eq!(
        codes(&format!("a = {}1{}", "{ b = ".repeat(5_000), "}".repeat(5_000))),
        ["toml-syntax"]
    );
    assert_eq!(codes("[flow]\nname = \"x\"\nname = \"y\"\n"), ["duplicate-key"]);
}

#[test]
fn github_lines_are_escaped() {
    let mut diagnostic = Diagnostic::of_file("a,b:c.toml", "x", "50%\nof it").with_help("so");
    diagnostic.end_column = 4;
    let want =
        "::error file=a%2Cb%3Ac.toml,line=1,endLine=1,col=1,endColumn=3,title=x::50%25%0Aof it%0Ahelp: so\n";
    assert_eq!(render_github(&[diagnostic]), want);
}

#[test]
fn every_knot_is_told() {
    let task = |name: &str, need: &str| {
        format!("[tasks.{name}]\nuses = \"command\"\nneeds = [\"{need}\"]\nwith = {{ argv = [] }}\n")
    };
    let found = problems(&[task("a", "b"), task("b", "a"), task("c", "d"), task("d", "c")].concat());
    assert_eq!(found, ["cycle: cycle: a → b → a", "cycle: cycle: c → d → c"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever becomes of a right file, the check answers, and each place it names exists.
    #[test]
    fn a_mutated_text_never_panics(at in 0..RIGHT.len(), cut in 0..40_usize, put in "[\\[\\]{}\"'=#.,%| a-z0-9\n\u{e9}]{0,12}") {
        let start = RIGHT.floor_char_boundary(at);
        let end = RIGHT.floor_char_boundary((at + cut).min(RIGHT.len()));
        let text = format!("{}{put}{}", &RIGHT[..start], &RIGHT[end..]);
        if let Err(found) = check_text("train-ranking-model", &text) {
            prop_assert!(!found.is_empty());
            let lines = text.split('\n').count();
            for problem in &found {
                prop_assert!(problem.line >= 1 && problem.line <= lines && problem.end_line <= lines, "{problem:?}");
            }
            prop_assert!(!render_text(&found, &text, false).is_empty());
        }
    }
}
