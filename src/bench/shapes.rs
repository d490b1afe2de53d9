//! Flow files of the workloads. No-op tasks are `approval` tasks without a gate: the plugin does nothing, inline.

use std::fmt::Write;

use anyhow::Result;

use super::Ground;
use super::servers::verb;

fn head(name: &str) -> String {
    format!("[flow]\nname = \"{name}\"\nmax_active = 10000\n\n")
}

/// A flow whose ticks start whatever else of it runs.
fn scheduled(name: &str, cron: &str) -> String {
    let head = format!("[flow]\nname = \"{name}\"\nmax_active = 10000\noverlap = \"allow\"");
    format!("{head}\n\n[[schedule]]\ncron = \"{cron}\"\n\n[tasks.t]\nuses = \"approval\"\n")
}

/// `width` tasks side by side, and one that needs them all.
pub fn fan_out(name: &str, width: usize) -> String {
    let mut text = head(name);
    for number in 0..width {
        let _ = write!(text, "[tasks.t{number}]\nuses = \"approval\"\n\n");
    }
    let needs: Vec<String> = (0..width).map(|number| format!("\"t{number}\"")).collect();
    let _ = write!(
        text,
        "[tasks.join]\nuses = \"approval\"\nneeds = [{}]\n",
        needs.join(", ")
    );
    text
}

/// `length` tasks, each needing the one before.
pub fn chain(name: &str, length: usize) -> String {
    let mut text = head(name);
    for number in 0..length {
        let _ = write!(text, "[tasks.t{number}]\nuses = \"approval\"\n");
        if let Some(before) = number.checked_sub(1) {
            let _ = writeln!(text, "needs = [\"t{before}\"]");
        }
        text.push('\n');
    }
    text
}

/// One task that runs every minute.
pub fn every_minute(name: &str) -> String {
    scheduled(name, "* * * * *")
}

/// One task that is due on New Year's Day.
pub fn every_year(name: &str) -> String {
    scheduled(name, "0 0 1 1 *")
}

/// `count` programs side by side.
pub fn programs(name: &str, count: usize, words: &[&str]) -> String {
    let mut text = head(name);
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let run = words.join(", ");
    for number in 0..count {
        let _ = write!(
            text,
            "[tasks.t{number}]\nuses = \"command\"\nwith = {{ argv = [{run}] }}\n\n"
        );
    }
    text
}

/// Writes flow files into a folder of their own and applies them.
pub async fn apply(ground: &Ground, files: &[(String, String)]) -> Result<()> {
    let folder = ground.folder.join("flows");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    for (name, text) in files {
        std::fs::write(folder.join(format!("{name}.toml")), text)?;
    }
    verb(ground, &["apply", "flows"]).await?;
    Ok(())
}
