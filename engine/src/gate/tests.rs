#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use serde_json::{Value, json};

use super::*;

fn rule(subject: Subject, bound: Bound) -> Rule {
    Rule {
        subject,
        bound,
        borderline: None,
        judged: Judged::Interval,
        without_baseline: WithoutBaseline::Ask,
    }
}

fn metric() -> Subject {
    Subject::Metric {
        metric: "{{ tasks.evaluate.metrics.precision_at_10 }}".to_owned(),
    }
}

fn change() -> Subject {
    Subject::Change {
        change: "{{ tasks.evaluate.change.precision_at_10 }}".to_owned(),
    }
}

fn against() -> Subject {
    Subject::Against {
        metric: "{{ tasks.evaluate.metrics.precision_at_10 }}".to_owned(),
        against: "{{ tasks.evaluate.baseline.precision_at_10 }}".to_owned(),
    }
}

fn judged(rule: &Rule, value: &Value) -> Judgement {
    judge(rule, Reading::of(Some(value)), None)
}

fn verdict(rule: &Rule, value: impl Into<Value>) -> Verdict {
    judged(rule, &value.into()).verdict
}

fn compared(rule: &Rule, value: impl Into<Value>, against: impl Into<Value>) -> Judgement {
    judge(
        rule,
        Reading::of(Some(&value.into())),
        Some(Reading::of(Some(&against.into()))),
    )
}

const BOUNDS: [Bound; 6] = [
    Bound::Above(0.25),
    Bound::AtLeast(0.25),
    Bound::Below(0.25),
    Bound::AtMost(0.25),
    Bound::MaxDrop(0.1),
    Bound::MaxRise(0.1),
];

/// What a metric can be instead of a number, and how it arrives.
fn undefined() -> Vec<Option<Value>> {
    let mut all: Vec<Option<Value>> = vec![None];
    let written = [
        json!(null),
        json!(f64::NAN),
        json!("NaN"),
        json!("inf"),
        json!("-Infinity"),
        json!("0.41"),
        json!("1e400"),
        json!(true),
        json!(false),
        json!([]),
        json!([0.41]),
        json!({}),
        json!({"mean": 0.41}),
        json!({"absent": "fetch_failed"}),
        json!({"absent": null}),
        json!({"absent": "no_baseline", "value": 0.41}),
        json!({"value": null, "low": 0.4, "high": 0.5}),
        json!({"value": 0.41}),
        json!({"value": 0.41, "low": 0.4}),
        json!({"value": 0.41, "low": 0.5, "high": 0.4}),
        json!({"value": 0.41, "low": "NaN", "high": 0.5}),
        json!({"value": "0.41", "low": 0.4, "high": 0.5}),
        json!({"value": 0.41, "low": null, "high": null}),
    ];
    all.extend(written.into_iter().map(Some));
    all
}

#[test]
fn nothing_undefined_opens_a_gate() {
    for bound in BOUNDS {
        for borderline in [None, Some(0.0), Some(1e300)] {
            for subject in [metric(), change()] {
                let rule = Rule {
                    borderline,
                    ..rule(subject, bound)
                };
                for value in undefined() {
                    let judgement = judge(&rule, Reading::of(value.as_ref()), None);
                    assert_eq!(judgement.verdict, Verdict::Fail, "{bound:?} {value:?}");
                    assert_eq!(judgement.value, None);
                }
            }
            let rule = Rule {
                borderline,
                ..rule(against(), bound)
            };
            for value in undefined() {
                let left = judge(
                    &rule,
                    Reading::of(value.as_ref()),
                    Some(Reading::of(Some(&json!(0.4)))),
                );
                let right = judge(
                    &rule,
                    Reading::of(Some(&json!(0.4))),
                    Some(Reading::of(value.as_ref())),
                );
                let both = judge(
                    &rule,
                    Reading::of(value.as_ref()),
                    Some(Reading::of(value.as_ref())),
                );
                assert_eq!(
                    [left.verdict, right.verdict, both.verdict],
                    [Verdict::Fail; 3],
                    "{bound:?} {value:?}"
                );
            }
            assert_eq!(
                judge(&rule, Reading::of(Some(&json!(0.4))), None).verdict,
                Verdict::Fail
            );
        }
    }
}

#[test]
fn a_bound_that_is_no_number_closes_the_gate() {
    for nothing in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for bound in [
            Bound::Above(nothing),
            Bound::AtLeast(nothing),
            Bound::Below(nothing),
            Bound::AtMost(nothing),
            Bound::MaxDrop(nothing),
            Bound::MaxRise(nothing),
        ] {
            assert_eq!(verdict(&rule(metric(), bound), 0.4), Verdict::Fail);
        }
        for bound in BOUNDS {
            assert_eq!(
                verdict(
                    &Rule {
                        borderline: Some(nothing),
                        ..rule(metric(), bound)
                    },
                    0.4
                ),
                Verdict::Fail
            );
        }
    }
    assert_eq!(
        verdict(
            &Rule {
                borderline: Some(-0.1),
                ..rule(metric(), Bound::Above(0.1))
            },
            0.4
        ),
        Verdict::Fail
    );
}

#[test]
fn numbers_are_compared_as_the_decimals_they_print_as() {
    use Verdict::{Fail, Pass};
    let cases = [
        (Bound::Above(0.3), 0.1 + 0.2, Pass),
        (Bound::Above(0.3), 0.3, Fail),
        (Bound::AtLeast(0.3), 0.3, Pass),
        (Bound::AtLeast(0.3), 0.1 + 0.2, Pass),
        (Bound::Below(0.3), 0.3, Fail),
        (Bound::AtMost(0.3), 0.3, Pass),
        (Bound::AtMost(0.3), 0.1 + 0.2, Fail),
        (Bound::Above(-0.1), -0.0, Pass),
        (Bound::Above(0.0), -0.0, Fail),
        (Bound::AtLeast(0.0), -0.0, Pass),
        (Bound::Below(0.25), -1e300, Pass),
        (Bound::Above(0.25), 1e300, Pass),
        (Bound::Above(0.0), 5e-324, Pass),
        (Bound::MaxDrop(0.1), -0.1, Pass),
        (Bound::MaxDrop(0.1), -0.10000000000000002, Fail),
        (Bound::MaxDrop(0.1), 0.5, Pass),
        (Bound::MaxRise(0.1), 0.1, Pass),
        (Bound::MaxRise(0.1), 0.10000000000000002, Fail),
        (Bound::MaxRise(0.1), -0.5, Pass),
    ];
    for (bound, value, expected) in cases {
        assert_eq!(
            verdict(&rule(metric(), bound), value),
            expected,
            "{value} {bound:?}"
        );
    }
    assert_eq!(
        verdict(&rule(metric(), Bound::AtLeast(3.0)), 3),
        Pass,
        "whole numbers are numbers"
    );
    assert_eq!(
        verdict(
            &rule(metric(), Bound::Above(9_007_199_254_740_992.0)),
            9_007_199_254_740_993_u64
        ),
        Pass
    );
}

#[test]
fn borderline_widens_the_bound_on_both_sides() {
    use Verdict::{Borderline, Fail, Pass};
    let near = |bound, value: f64| {
        verdict(
            &Rule {
                borderline: Some(0.01),
                ..rule(metric(), bound)
            },
            value,
        )
    };
    for bound in [Bound::Above(0.35), Bound::AtLeast(0.35)] {
        let found =
            [0.33999999999999997, 0.34, 0.35, 0.36, 0.36000000000000004].map(|value| near(bound, value));
        assert_eq!(
            found,
            [Fail, Borderline, Borderline, Borderline, Pass],
            "{bound:?}"
        );
    }
    for bound in [Bound::Below(0.35), Bound::AtMost(0.35)] {
        let found =
            [0.33999999999999997, 0.34, 0.35, 0.36, 0.36000000000000004].map(|value| near(bound, value));
        assert_eq!(
            found,
            [Pass, Borderline, Borderline, Borderline, Fail],
            "{bound:?}"
        );
    }
    assert_eq!(
        [-0.12, -0.11, -0.1, -0.09, -0.08].map(|v| near(Bound::MaxDrop(0.1), v)),
        [Fail, Borderline, Borderline, Borderline, Pass]
    );
}

#[test]
fn an_interval_passes_or_fails_as_a_whole() {
    use Verdict::{Borderline, Fail, Pass};
    let of = |bound, borderline, (value, low, high): (f64, f64, f64)| {
        verdict(
            &Rule {
                borderline,
                ..rule(metric(), bound)
            },
            json!({"value": value, "low": low, "high": high}),
        )
    };
    let above = Bound::Above(0.25);
    assert_eq!(of(above, None, (0.31, 0.29, 0.33)), Pass);
    assert_eq!(of(above, None, (0.31, 0.25, 0.33)), Borderline);
    assert_eq!(of(Bound::AtLeast(0.25), None, (0.31, 0.25, 0.33)), Pass);
    assert_eq!(of(above, None, (0.2, 0.1, 0.25)), Fail);
    assert_eq!(of(Bound::AtLeast(0.25), None, (0.2, 0.1, 0.25)), Borderline);
    assert_eq!(of(above, Some(0.01), (0.31, 0.26, 0.33)), Borderline);
    assert_eq!(of(above, Some(0.01), (0.2, 0.1, 0.24)), Borderline);
    assert_eq!(of(above, Some(0.01), (0.2, 0.1, 0.23)), Fail);
    assert_eq!(of(Bound::Below(0.25), None, (0.2, 0.1, 0.24)), Pass);
    assert_eq!(of(Bound::Below(0.25), None, (0.3, 0.26, 0.34)), Fail);
    assert_eq!(of(Bound::MaxDrop(0.1), None, (-0.05, -0.12, 0.02)), Borderline);
    assert_eq!(of(Bound::MaxDrop(0.1), None, (-0.05, -0.1, 0.02)), Pass);
    assert_eq!(of(Bound::MaxDrop(0.1), None, (-0.2, -0.3, -0.11)), Fail);
    assert_eq!(
        of(above, None, (0.2, 0.29, 0.33)),
        Borderline,
        "a point outside of its own interval"
    );
    let point = Rule {
        judged: Judged::Value,
        ..rule(metric(), above)
    };
    assert_eq!(
        verdict(&point, json!({"value": 0.31, "low": 0.1, "high": 0.5})),
        Pass
    );
    assert_eq!(
        verdict(&point, json!({"value": 0.31, "low": null, "high": null})),
        Pass
    );
    assert_eq!(
        verdict(&point, json!({"value": null, "low": 0.3, "high": 0.5})),
        Fail
    );
}

#[test]
fn two_plain_numbers_are_compared_without_a_quotient() {
    use Verdict::{Borderline, Fail, Pass};
    let drop = rule(against(), Bound::MaxDrop(0.1));
    let of = |value: f64, baseline: f64| compared(&drop, value, baseline).verdict;
    assert_eq!(
        [of(0.9, 1.0), of(0.27, 0.3), of(0.63, 0.7), of(0.0009, 0.001)],
        [Pass; 4],
        "exactly ten per cent less"
    );
    assert_eq!(
        [of(0.8999999999999999, 1.0), of(0.26999999999999996, 0.3)],
        [Fail; 2]
    );
    assert_eq!(
        [of(0.3, 0.0), of(0.3, -0.0), of(0.3, -0.1), of(0.0, 0.0)],
        [Fail; 4],
        "no ratio to 0"
    );
    let near = Rule {
        borderline: Some(0.01),
        ..drop.clone()
    };
    assert_eq!(
        [0.88, 0.89, 0.9, 0.91, 0.92].map(|v| compared(&near, v, 1.0).verdict),
        [Fail, Borderline, Borderline, Borderline, Pass]
    );
    assert_eq!(
        compared(&rule(against(), Bound::MaxRise(0.1)), 1.1, 1.0).verdict,
        Pass
    );
    assert_eq!(
        compared(&drop, json!({"value": 1, "low": 1, "high": 1}), 1.0).verdict,
        Fail
    );
    let points = Rule {
        judged: Judged::Value,
        ..drop
    };
    assert_eq!(
        compared(&points, json!({"value": 1, "low": 1, "high": 1}), 1.0).verdict,
        Pass
    );
}

#[test]
fn no_baseline_is_what_the_rule_says_and_never_an_improvement() {
    let absent = json!({"absent": "no_baseline"});
    for (policy, expected) in [
        (WithoutBaseline::Pass, Verdict::Pass),
        (WithoutBaseline::Ask, Verdict::Borderline),
        (WithoutBaseline::Fail, Verdict::Fail),
    ] {
        let with = |subject| Rule {
            without_baseline: policy,
            ..rule(subject, Bound::MaxDrop(0.1))
        };
        assert_eq!(verdict(&with(change()), absent.clone()), expected);
        assert_eq!(compared(&with(against()), 0.3, absent.clone()).verdict, expected);
        assert_eq!(
            compared(&with(against()), json!(null), absent.clone()).verdict,
            Verdict::Fail,
            "the metric itself is missing"
        );
        assert_eq!(
            compared(&with(against()), absent.clone(), 0.3).verdict,
            Verdict::Fail
        );
        assert_eq!(
            verdict(&with(metric()), absent.clone()),
            Verdict::Fail,
            "a plain metric has no baseline to lack"
        );
        assert_eq!(
            verdict(&with(change()), json!({"absent": "fetch_failed"})),
            Verdict::Fail,
            "not fetched is not absent"
        );
    }
}

#[test]
fn a_rule_names_what_it_judges_so_that_two_are_told_apart() {
    let name = |text: &str| {
        let subject = Subject::Metric {
            metric: text.to_owned(),
        };
        judge(
            &rule(subject, Bound::Above(0.0)),
            Reading::of(Some(&json!(1))),
            None,
        )
        .name
    };
    assert_eq!(name("{{ tasks.evaluate.metrics.ndcg_at_10 }}"), "ndcg_at_10");
    assert_eq!(name("{{ tasks.evaluate.change.ndcg_at_10 }}"), "ndcg_at_10");
    assert_eq!(
        name("{{ tasks.evaluate.lift.temporal_full.ndcg_at_10 }}"),
        "lift.temporal_full.ndcg_at_10"
    );
    assert_eq!(
        name("{{ tasks.evaluate.metrics.a / 2 }}"),
        "tasks.evaluate.metrics.a / 2"
    );
    assert_eq!(name("{{ params.bar }}"), "params.bar");
}

#[test]
fn judgements_read_as_sentences() {
    let interval = |value: f64, low: f64, high: f64| json!({"value": value, "low": low, "high": high});
    let above = rule(metric(), Bound::Above(0.25));
    let near = Rule {
        borderline: Some(0.01),
        ..above.clone()
    };
    let drop = rule(change(), Bound::MaxDrop(0.1));
    let two = rule(against(), Bound::MaxDrop(0.1));
    let mut all = vec![
        judged(&above, &interval(0.31, 0.29, 0.33)),
        judged(&above, &interval(0.312_765_957, 0.291_111, 0.334_999_9)),
        judged(&above, &json!(0.21)),
        judged(&above, &json!(0.25)),
        judged(&above, &json!(0.250_000_1)),
        judged(&above, &interval(0.27, 0.24, 0.3)),
        judged(&near, &json!(0.255)),
        judged(&near, &interval(0.27, 0.255, 0.3)),
        judged(&near, &interval(0.31, 0.29, 0.33)),
        judged(&rule(metric(), Bound::AtMost(0.000_05)), &json!(0.000_012_345)),
        judged(&drop, &interval(-0.02, -0.05, 0.01)),
        judged(&drop, &interval(-0.15, -0.2, -0.11)),
        judged(&drop, &interval(-0.08, -0.12, -0.04)),
        judged(
            &Rule {
                borderline: Some(0.02),
                ..drop.clone()
            },
            &json!(-0.09),
        ),
        judged(&drop, &json!({"absent": "no_baseline"})),
        judged(&rule(change(), Bound::MaxRise(0.05)), &json!(0.08)),
        compared(&two, 0.31, 0.338),
        compared(&two, 0.3, 0.338),
        compared(&two, 0.31, 0.0),
        compared(&two, 0.31, json!(null)),
        compared(&two, interval(0.3, 0.2, 0.4), 0.3),
        judge(&above, Reading::of(None), None),
        judged(&rule(metric(), Bound::Above(f64::NAN)), &json!(0.3)),
    ];
    all.extend(
        undefined()
            .iter()
            .skip(1)
            .map(|value| judge(&above, Reading::of(value.as_ref()), None)),
    );
    let lines: Vec<&str> = all.iter().map(|judgement| judgement.why.as_str()).collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert_eq!(
        [&near, &drop].map(|rule| judged(rule, &json!(0.3)).bound),
        ["above 0.25 (± 0.01)", "a drop of at most 10 %"]
    );
}

#[test]
fn a_gate_is_rejected_asks_or_opens() {
    let rules = vec![
        rule(metric(), Bound::Above(0.25)),
        Rule {
            borderline: Some(0.01),
            ..rule(metric(), Bound::Above(0.25))
        },
    ];
    let gate = |approval| Gate {
        rules: rules.clone(),
        approval,
        evidence: Vec::new(),
    };
    let judge_all = |value: f64| {
        rules
            .iter()
            .map(|rule| judged(rule, &json!(value)))
            .collect::<Vec<_>>()
    };
    let always = ApprovalSpec {
        when: AskWhen::Always,
        required: 2,
        ..ApprovalSpec::default()
    };
    assert_eq!(Opening::decide(&gate(None), &judge_all(0.3)), Opening::Opens);
    assert_eq!(
        Opening::decide(&gate(Some(always.clone())), &judge_all(0.3)),
        Opening::Asks {
            approval: always.clone(),
            why: vec![]
        }
    );
    let Opening::Asks { approval, why } = Opening::decide(&gate(None), &judge_all(0.255)) else {
        panic!()
    };
    assert_eq!((approval, why.len()), (ApprovalSpec::default(), 1));
    let borderline = ApprovalSpec {
        when: AskWhen::Borderline,
        ..always.clone()
    };
    assert_eq!(
        Opening::decide(&gate(Some(borderline)), &judge_all(0.3)),
        Opening::Opens
    );
    for approval in [None, Some(always)] {
        let Opening::Rejected { why } = Opening::decide(&gate(approval), &judge_all(0.245)) else {
            panic!()
        };
        assert_eq!(why, ["precision_at_10 0.245 is not above 0.25: fails"]);
    }
    assert!(matches!(
        Opening::decide(&gate(None), &judge_all(0.3)[..1]),
        Opening::Rejected { .. }
    ));
    let empty = Gate {
        rules: vec![],
        approval: None,
        evidence: vec![],
    };
    assert_eq!(Opening::decide(&empty, &[]), Opening::Opens);
}

fn evidence(outputs: Value, world: Value) -> Evidence {
    let rule = rule(metric(), Bound::Above(0.25));
    let judgement = judged(&rule, &json!({"value": 0.31, "low": 0.29, "high": 0.33}));
    Evidence {
        flow: "train-ranking-model".parse().unwrap(),
        version: crate::id::VersionHash("ab".repeat(32)),
        run: "01936d5c-0000-7000-8000-000000000001".parse().unwrap(),
        task: "production".parse().unwrap(),
        rules: vec![JudgedRule { rule, judgement }],
        outputs: [("evaluate".parse().unwrap(), outputs)].into(),
        action: Some("moves ranking_model@production from v6 to v7".to_owned()),
        world,
    }
}

#[test]
fn the_digest_is_of_the_facts_not_of_their_spelling() {
    let digest =
        |outputs: &str, world: Value| evidence(serde_json::from_str(outputs).unwrap(), world).digest();
    let one = digest(
        r#"{"a": 1.0, "b": [1e16, -0.0, 0.1], "c": "é\n\""}"#,
        json!({"version": 6}),
    );
    let same = digest(
        r#"{"c": "é\n\"", "b": [10000000000000000, 0, 0.10], "a": 1}"#,
        json!({"version": 6}),
    );
    assert_eq!(one, same);
    assert!(
        one.len() == 64
            && one
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    );
    assert_ne!(
        one,
        digest(
            r#"{"a": 1.0, "b": [1e16, -0.0, 0.1], "c": "é\n\""}"#,
            json!({"version": 7})
        )
    );
    assert_ne!(
        one,
        digest(
            r#"{"a": 1.0, "b": [1e16, -0.0, 0.10000000000000002], "c": "é\n\""}"#,
            json!({"version": 6})
        )
    );
}

#[test]
fn evidence_survives_its_way_through_json() {
    let before = evidence(json!({"ndcg": 0.123_456_789_012_345_67, "n": 943}), json!(null));
    let text = serde_json::to_string(&before).unwrap();
    let after: Evidence = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (before.canonical(), before.digest()),
        (after.canonical(), after.digest())
    );
    let canonical: Value = serde_json::from_str(&before.canonical()).unwrap();
    assert_eq!(canonical["outputs"]["evaluate"]["n"], json!(943));
    insta::assert_snapshot!(before.canonical());
}
