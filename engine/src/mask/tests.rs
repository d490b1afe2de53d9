//! A canary in every form, at every place, cut anywhere.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const CANARY: &str = "Kan/ä r+ien\"vogel&7";

fn encodings(text: &str, around: (&str, &str)) -> Vec<String> {
    let joined = format!("{}{text}{}", around.0, around.1);
    vec![
        joined.clone(),
        STANDARD.encode(&joined),
        URL_SAFE.encode(&joined),
        json!({ "a": joined }).to_string(),
        json!({ "a": json!({ "b": joined }).to_string() }).to_string(),
        hex::encode(text),
        hex::encode(text).to_uppercase(),
        forms_of_urls(text),
    ]
}

fn forms_of_urls(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| {
            if plain(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

#[test]
fn a_canary_is_hidden_in_every_form_cut_at_every_position() {
    let mask = Mask::new([CANARY]);
    for around in [("", ""), ("x", "yz"), ("ab", ""), ("abc", "d")] {
        for text in encodings(CANARY, around) {
            let text = format!("before {text} after");
            let whole = mask.hide(&text);
            assert!(whole.contains("***"), "{text} → {whole}");
            for at in 0..=text.len() {
                let mut flow = mask.flow();
                let mut shown = flow.feed(&text.as_bytes()[..at]);
                shown.extend(flow.feed(&text.as_bytes()[at..]));
                shown.extend(flow.end());
                assert_eq!(String::from_utf8(shown).unwrap(), whole, "cut at {at}");
            }
        }
    }
}

#[test]
fn what_overlaps_is_hidden_to_its_end() {
    let mask = Mask::new(["abcdef", "defghi"]);
    assert_eq!(mask.hide("xabcdefghiy"), "x***y");
    assert_eq!(mask.hide("abcdefabcdef abcdef"), "****** ***");
    let mut flow = mask.flow();
    let pieces: Vec<u8> = "xabcdefghiy"
        .bytes()
        .flat_map(|byte| flow.feed(&[byte]))
        .collect();
    assert_eq!(
        String::from_utf8(pieces).unwrap(),
        "x***y",
        "byte by byte, and nothing is held"
    );
}

#[test]
fn a_value_of_several_lines_is_hidden_line_by_line_too() {
    let mask = Mask::new(["-----BEGIN KEY-----\nMIIBVgIBADANBg\n-----END KEY-----\n"]);
    assert_eq!(mask.hide("key: MIIBVgIBADANBg"), "key: ***");
}

#[test]
fn values_in_json_are_hidden_in_texts_names_and_numbers() {
    let mask = Mask::new(["hunter22", "123456"]);
    let hidden = mask.hide_value(json!({"a": ["x hunter22", 123456, 1.5, true], "hunter22": null}));
    assert_eq!(hidden, json!({"a": ["x ***", "***", 1.5, true], "***": null}));
}

#[test]
fn without_values_nothing_changes_and_short_ones_are_not_hidden() {
    assert_eq!(Mask::default().hide("all of it"), "all of it");
    assert!(Mask::new(["abc", "  ", ""]).is_empty());
    assert_eq!(format!("{:?}", Mask::new(["hunter22"])), "Mask(1 values)");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_a_text_is_cut_no_part_of_a_value_is_shown(
        value in "[a-c/+ \"é]{6,14}",
        noise in prop::collection::vec(("[a-c/+ \"é]{0,9}", any::<bool>()), 1..6),
        cuts in prop::collection::vec(1usize..7, 0..40),
    ) {
        let value = value.trim().to_owned();
        prop_assume!(value.len() >= 6);
        let mask = Mask::new([value.clone()]);
        let text: String = noise.iter().map(|(before, it)| format!("{before}{}", if *it { value.as_str() } else { "" })).collect();
        let (mut flow, mut shown, mut rest) = (mask.flow(), Vec::new(), text.as_bytes());
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            shown.extend(flow.feed(piece));
            rest = after;
        }
        shown.extend(flow.feed(rest));
        shown.extend(flow.end());
        let shown = String::from_utf8(shown).unwrap();
        prop_assert_eq!(&shown, &mask.hide(&text));
        prop_assert!(!shown.contains(&value));
    }
}
