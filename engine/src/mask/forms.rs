//! The forms in which a value is printed.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::SHORTEST;

/// What URL encoders leave as it is beside letters and digits: RFC 3986, forms, `encodeURIComponent`, paths, queries.
const LEFT_BY_URLS: [&str; 6] = [
    "-._~",
    "-._*",
    "-._~!'()*",
    "-._~!$&'()*+,;=:@/",
    "-._~!$&'()*+,;=:@/?[]\\^`{|}",
    "-._~!$&'()*+,;=",
];

/// All of them, without what is too short to be told from harmless text.
pub(super) fn of(value: &str) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    let whole = value.trim();
    let lines = whole.lines().map(str::trim).filter(|line| *line != whole);
    for text in std::iter::once(whole).chain(lines).chain(std::iter::once(value)) {
        if text.len() < SHORTEST {
            continue;
        }
        forms.push(text.as_bytes().to_vec());
        forms.extend(json(text));
        forms.extend(urls(text));
        forms.extend(base64(text.as_bytes()));
        forms.push(hex::encode(text).into_bytes());
        forms.push(hex::encode_upper(text).into_bytes());
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// Escaped once and twice, as UTF-8 and as ASCII.
fn json(text: &str) -> Vec<Vec<u8>> {
    let once = escaped(text);
    let twice = escaped(&once);
    let slashed = once.replace('/', "\\/");
    [ascii(&once), ascii(&twice), slashed, once, twice]
        .map(String::into_bytes)
        .to_vec()
}

fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

fn urls(text: &str) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for left in LEFT_BY_URLS {
        let upper = percent(text, left, "%20");
        forms.push(percent(text, left, "+"));
        forms.push(lower_escapes(&upper));
        forms.push(upper);
    }
    forms.into_iter().map(String::into_bytes).collect()
}

fn percent(text: &str, left: &str, space: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push_str(space),
            byte if byte.is_ascii_alphanumeric() || left.as_bytes().contains(&byte) => {
                out.push(char::from(byte))
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn lower_escapes(text: &str) -> String {
    let mut out = String::new();
    let mut left = 0_u8;
    for c in text.chars() {
        left = if c == '%' { 3 } else { left };
        out.push(if left > 0 { c.to_ascii_lowercase() } else { c });
        left = left.saturating_sub(1);
    }
    out
}

/// What stands in a base64 text whatever stands around the bytes: at each of the three positions, less the characters that hold
/// bits of a neighbour.
fn base64(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let mut padded = vec![0; before];
        padded.extend_from_slice(bytes);
        let from = (before * 8).div_ceil(6);
        let to = (before + bytes.len()) * 8 / 6;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.push(engine.encode(&padded).into_bytes()[from..to].to_vec());
        }
    }
    forms
}
