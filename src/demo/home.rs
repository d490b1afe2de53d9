//! The home of a demo: its lake, and what must be remembered from one start to the next.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp, ToSpan, Zoned, tz::TimeZone};
use serde::{Deserialize, Serialize};
use tidegate_engine::clock;

use crate::failure::Failure;
use crate::roles::password;

/// A lake whose newest event is older than this is made anew.
const STALE: SignedDuration = SignedDuration::from_hours(36);

/// A folder in which a demo lives.
pub struct DemoHome {
    folder: PathBuf,
    memory: Memory,
}

/// What is remembered: `demo.json`, for its owner alone.
#[derive(Clone, Serialize, Deserialize)]
struct Memory {
    /// Password of the login: a demo's secret, shown at each start.
    password: String,
    /// When the demo was first started.
    began: Timestamp,
    /// Up to when the lake has events.
    lake_until: Option<Timestamp>,
}

impl DemoHome {
    /// Opens a home. Refused where another than a demo lives.
    pub fn open(home: &Path) -> Result<Self, Failure> {
        let file = home.join("demo.json");
        let memory = match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| Failure::refused(format!("{} cannot be read: {error}", file.display())))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if home.join("pg").exists() {
                    return Err(
                        Failure::refused(format!("{} holds other work than a demo", home.display())).help(
                            "set TIDEGATE_HOME to another folder: TIDEGATE_HOME=.tidegate-demo tidegate demo",
                        ),
                    );
                }
                Memory {
                    password: password(),
                    began: clock::now(),
                    lake_until: None,
                }
            }
            Err(error) => return Err(error.into()),
        };
        let opened = Self {
            folder: home.to_owned(),
            memory,
        };
        opened.save()?;
        Ok(opened)
    }

    fn save(&self) -> Result<(), Failure> {
        fs::create_dir_all(&self.folder)?;
        let text = serde_json::to_string_pretty(&self.memory).map_err(io::Error::other)?;
        let new = self.folder.join("demo.json.new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        fs::rename(new, self.folder.join("demo.json"))?;
        Ok(())
    }

    /// Password of the login.
    pub fn password(&self) -> &str {
        &self.memory.password
    }

    /// Address of the lake.
    pub fn lake(&self) -> String {
        format!("file://{}", self.folder.join("lake").display())
    }

    /// The nights of the first model and of the retrain: 02:00 UTC a week before, and last, when the demo began.
    pub fn nights(&self) -> (Timestamp, Timestamp) {
        let began = self.memory.began;
        let newer = last_night(&began.to_zoned(TimeZone::UTC)).unwrap_or(began);
        (newer - SignedDuration::from_hours(7 * 24), newer)
    }

    /// Writes the lake when there is none, or an old one. Answers how many events were written.
    pub async fn fill_lake(&mut self) -> Result<Option<u64>, Failure> {
        let now = clock::now();
        if self
            .memory
            .lake_until
            .is_some_and(|until| now.duration_since(until) < STALE)
        {
            return Ok(None);
        }
        let written = tidegate_flows::demo::write_lake(&self.lake(), now, &BTreeMap::new()).await;
        let written = written.map_err(|error| Failure::refused(tidegate_engine::plugin::chain(&error)))?;
        self.memory.lake_until = Some(now);
        self.save()?;
        Ok(Some(written.rows))
    }
}

/// The last 02:00 at or before an instant.
fn last_night(at: &Zoned) -> Option<Timestamp> {
    let tonight = at.start_of_day().ok()?.checked_add(2.hours()).ok()?;
    let night = if tonight <= *at {
        tonight
    } else {
        tonight.checked_sub(1.day()).ok()?
    };
    Some(night.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nights_are_those_before_the_beginning() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().to_zoned(TimeZone::UTC);
        let night = |text: &str| last_night(&at(text)).unwrap().to_string();
        assert_eq!(night("2026-11-25T11:00:00Z"), "2026-11-25T02:00:00Z");
        assert_eq!(night("2026-11-25T01:59:59Z"), "2026-11-24T02:00:00Z");
    }

    #[test]
    fn a_home_with_other_work_is_left_alone_and_a_demo_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let first = DemoHome::open(&home).unwrap();
        assert_eq!(DemoHome::open(&home).unwrap().password(), first.password());
        let other = folder.path().join("other");
        fs::create_dir_all(other.join("pg")).unwrap();
        assert!(DemoHome::open(&other).is_err());
    }
}
