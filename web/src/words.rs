//! How instants, durations, numbers and states are put into words and signs.

use std::fmt;

use askama::filters::HtmlSafe;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Number;

/// An instant: how long ago or ahead it is, with the exact one behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The instant.
    pub at: Timestamp,
    /// The moment of showing.
    pub now: Timestamp,
}

impl Moment {
    /// `2026-11-25 02:00:00 UTC`.
    pub fn exact(&self) -> String {
        let utc = self.at.to_zoned(TimeZone::UTC);
        utc.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
    }

    /// `3 min ago`, `in 2 h`, `just now`.
    pub fn relative(&self) -> String {
        let seconds = self.at.duration_since(self.now).as_secs();
        let size = coarse(seconds.unsigned_abs());
        match seconds {
            -4..=4 => "just now".to_owned(),
            5.. => format!("in {size}"),
            _ => format!("{size} ago"),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (exact, relative) = (self.exact(), self.relative());
        write!(
            f,
            "<time datetime=\"{}\" title=\"{exact}\">{relative}</time>",
            self.at
        )
    }
}

impl HtmlSafe for Moment {}

/// The greatest unit alone: `45 s`, `12 min`, `5 h`, `3 days`.
fn coarse(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A duration with its two greatest units: `0.4 s`, `45 s`, `3 min 12 s`, `2 h 05 min`, `3 d 4 h`.
pub fn duration(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {:02} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// Seconds from one instant to another.
pub fn between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// A number as people read it: whole ones with their thousands apart, others with four digits that count.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return grouped(value as i64);
    }
    let size = value.abs().log10().floor() as i32;
    if !(-5..15).contains(&size) {
        return format!("{value:.3e}");
    }
    let places = (3 - size).clamp(0, 8) as usize;
    let text = format!("{:.places$}", value.abs());
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    let sign = if value < 0.0 { "−" } else { "" };
    format!("{sign}{text}")
}

fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            // A narrow space that does not break.
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    if value < 0 { format!("−{out}") } else { out }
}

/// The number of a JSON number; `None` beyond what a double holds.
pub fn of(number: &Number) -> Option<f64> {
    number.as_f64().filter(|value| value.is_finite())
}

/// `+2.4 %`, `−10 %`.
pub fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    let places = if percent.abs() < 10.0 { 2 } else { 1 };
    let text = format!("{:.places$}", percent.abs());
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text {
        "0" => "0 %".to_owned(),
        text if percent < 0.0 => format!("−{text} %"),
        text => format!("+{text} %"),
    }
}

/// `1.4 MB`.
pub fn bytes(size: i64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (size as f64, 0);
    while value.abs() >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let places = usize::from(unit > 0 && value < 99.5);
    format!("{value:.places$} {}", units[unit])
}

/// A stored word as prose: `rule_failed` → `rule failed`.
pub fn plain(word: &str) -> String {
    word.replace('_', " ")
}

/// Something that there is one of or several: `1 run`, `3 runs`.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 {
        format!("1 {thing}")
    } else {
        format!("{} {thing}s", grouped(number as i64))
    }
}

/// A text of at most `most` characters.
pub fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let cut: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{cut}…")
}

/// A state as colour, shape and word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Badge {
    state: String,
    reason: Option<String>,
}

impl Badge {
    /// Of a run, task run or approval.
    pub fn new(state: &str, reason: Option<&str>) -> Self {
        Self {
            state: state.to_owned(),
            reason: reason.map(plain),
        }
    }

    /// Whether it shows this state.
    pub fn is(&self, state: &str) -> bool {
        self.state == state
    }
}

impl fmt::Display for Badge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tone = tone(&self.state);
        write!(
            f,
            "<span class=\"state {tone}\"><svg class=\"sign\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">{}</svg>{}",
            sign(&self.state),
            Escaped(&self.state)
        )?;
        if let Some(reason) = &self.reason {
            write!(f, "<span class=\"why\">{}</span>", Escaped(reason))?;
        }
        f.write_str("</span>")
    }
}

impl HtmlSafe for Badge {}

/// The class that colours a state.
pub fn tone(state: &str) -> &'static str {
    match state {
        "succeeded" | "approved" | "pass" => "good",
        "failed" | "fail" => "bad",
        "rejected" => "closed",
        "waiting" | "open" | "borderline" | "expired" => "wait",
        "running" | "cancelling" => "go",
        _ => "calm",
    }
}

/// The shape of a state in a square of 16.
pub fn sign(state: &str) -> &'static str {
    match state {
        "succeeded" | "approved" | "pass" => {
            "<circle class=\"f\" cx=\"8\" cy=\"8\" r=\"7\"/><path class=\"k\" d=\"M4.6 8.3l2.3 2.3 4.5-4.9\"/>"
        }
        "failed" | "fail" => {
            "<rect class=\"f\" x=\"1.5\" y=\"1.5\" width=\"13\" height=\"13\" rx=\"2.5\"/><path class=\"k\" d=\"M5.2 5.2l5.6 5.6M10.8 5.2l-5.6 5.6\"/>"
        }
        // The gate, closed: two posts and what lies between them.
        "rejected" => {
            "<path class=\"s\" d=\"M2.5 2v12M13.5 2v12\"/><path class=\"f\" d=\"M4.5 4.5h7v7h-7z\"/>"
        }
        // The gate, half open.
        "waiting" | "open" | "borderline" => {
            "<path class=\"s\" d=\"M2.5 2v12M13.5 2v12\"/><path class=\"f\" d=\"M4.5 3h7v3.5h-7z\"/>"
        }
        "running" => {
            "<circle class=\"s faint\" cx=\"8\" cy=\"8\" r=\"6\"/><path class=\"s turn\" d=\"M8 2a6 6 0 0 1 6 6\"/>"
        }
        "cancelling" | "cancelled" | "void" => {
            "<circle class=\"s\" cx=\"8\" cy=\"8\" r=\"6\"/><path class=\"s\" d=\"M4 12L12 4\"/>"
        }
        "skipped" | "superseded" => "<path class=\"s\" d=\"M3 4l4 4-4 4M8.5 4l4 4-4 4\"/>",
        "backoff" | "expired" => {
            "<circle class=\"s\" cx=\"8\" cy=\"8\" r=\"6\"/><path class=\"s\" d=\"M8 4.5V8l2.5 1.8\"/>"
        }
        "ready" | "queued" => {
            "<circle class=\"s\" cx=\"8\" cy=\"8\" r=\"6\"/><circle class=\"f\" cx=\"8\" cy=\"8\" r=\"2\"/>"
        }
        _ => "<circle class=\"s dash\" cx=\"8\" cy=\"8\" r=\"6\"/>",
    }
}

/// Text inside HTML that is written by hand.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => fmt::Write::write_char(f, c)?,
            }
        }
        Ok(())
    }
}

/// A drawing, or other HTML that was written by hand from escaped texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drawn(pub String);

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Drawn {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_read_as_people_say_them() {
        let now: Timestamp = "2026-11-25T02:00:00Z".parse().unwrap();
        let at = |text: &str| Moment {
            at: text.parse().unwrap(),
            now,
        };
        assert_eq!(at("2026-11-25T01:57:10Z").relative(), "2 min ago");
        assert_eq!(at("2026-11-25T04:00:00Z").relative(), "in 2 h");
        assert_eq!(at("2026-11-25T02:00:03Z").relative(), "just now");
        assert_eq!(at("2026-11-20T02:00:00Z").relative(), "5 days ago");
        assert_eq!(
            at("2026-11-25T01:57:10Z").to_string(),
            "<time datetime=\"2026-11-25T01:57:10Z\" title=\"2026-11-25 01:57:10 UTC\">2 min ago</time>"
        );
    }

    #[test]
    fn numbers_keep_what_counts() {
        assert_eq!(number(0.312_345), "0.3123");
        assert_eq!(number(0.000_123_4), "0.0001234");
        assert_eq!(number(1_234_567.0), "1\u{202f}234\u{202f}567");
        assert_eq!(number(-4.0), "−4");
        assert_eq!(number(12.5), "12.5");
        assert_eq!(number(-0.0120), "−0.012");
        assert_eq!(number(1e-9), "1.000e-9");
        assert_eq!(percent(-0.1), "−10 %");
        assert_eq!(percent(0.0243), "+2.43 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(bytes(1_400_000), "1.4 MB");
        assert_eq!(duration(0.42), "0.4 s");
        assert_eq!(duration(192.0), "3 min 12 s");
        assert_eq!(duration(7_500.0), "2 h 05 min");
    }

    #[test]
    fn a_strange_state_is_text() {
        let badge = Badge::new("<b>", Some("\"><script>")).to_string();
        assert!(!badge.contains("<b>") && !badge.contains("<script>"));
    }
}
