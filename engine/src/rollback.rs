//! Rolling an alias back: where it goes, and why it may not.
//!
//! The moves of an alias, oldest first, are folded as a stack: one to a version that lies in it goes back down to that version, any
//! other one puts its version on top. A rollback goes to what lies below the top, so that several in a row go further back, and none
//! returns to what was rolled back.
//!
//! ```text
//! 1 → 2 → 3          stack 1 2 3    a rollback goes to 2
//! 1 → 2 → 3 → 2      stack 1 2      the next one to 1
//! 1 → 2 → 3 → 2 → 4  stack 1 2 4    to 2
//! ```

use jiff::Timestamp;
use uuid::Uuid;

use crate::view::AliasMove;

/// The flow whose runs roll back. The program carries it, and no flow file may have its name.
pub const FLOW: &str = "roll-back";

/// What an alias pointed to.
#[derive(Debug, Clone)]
pub struct Past<'m> {
    /// Newest first.
    moves: Vec<&'m AliasMove>,
}

/// A version that the alias pointed to before.
#[derive(Debug, Clone, Copy)]
pub struct Reign<'m> {
    /// The move that made it point there, the last time.
    pub moved: &'m AliasMove,
    /// The end of that time.
    pub until: Timestamp,
    /// The newest move to it that people had approved.
    pub approved: Option<&'m AliasMove>,
}

impl<'m> Past<'m> {
    /// Of an alias, from the moves of its model, newest first.
    pub fn of(moves: &'m [AliasMove], alias: &str) -> Self {
        Self {
            moves: moves.iter().filter(|moved| moved.alias == alias).collect(),
        }
    }

    /// Where a rollback goes unless it is told.
    pub fn target(&self) -> Option<i64> {
        let mut stack: Vec<i64> = Vec::new();
        for moved in self.moves.iter().rev() {
            match stack.iter().position(|version| *version == moved.version) {
                Some(place) => stack.truncate(place + 1),
                None => stack.push(moved.version),
            }
        }
        stack.iter().rev().nth(1).copied()
    }

    /// The versions that it pointed to before its present one, those of late first: where it may go back to.
    pub fn earlier(&self) -> Vec<Reign<'m>> {
        let mut reigns: Vec<Reign<'m>> = Vec::new();
        let now = self.moves.first().map(|moved| moved.version);
        for (next, moved) in self.moves.iter().zip(self.moves.iter().skip(1)) {
            let known = reigns.iter().any(|reign| reign.moved.version == moved.version);
            if !known && Some(moved.version) != now {
                reigns.push(Reign {
                    moved,
                    until: next.at,
                    approved: self.approved(moved.version),
                });
            }
        }
        reigns
    }

    /// Where the alias goes back to from where somebody saw it, or why it does not.
    pub fn judge(&self, name: &str, (from, to): (i64, Option<i64>)) -> Result<i64, Refusal> {
        let name = name.to_owned();
        let Some(version) = to.or_else(|| self.target()) else {
            return Err(Refusal::NothingBefore { name, version: from });
        };
        if version == from {
            return Err(Refusal::There { name, version });
        }
        let possible: Vec<i64> = self.earlier().iter().map(|reign| reign.moved.version).collect();
        match possible.contains(&version) {
            true => Ok(version),
            false => Err(Refusal::NeverThere {
                name,
                version,
                possible,
            }),
        }
    }

    fn approved(&self, version: i64) -> Option<&'m AliasMove> {
        let mut to_it = self.moves.iter().filter(|moved| moved.version == version);
        to_it.find(|moved| moved.approval.is_some()).copied()
    }
}

/// Why an alias does not go back. `name` is `model@alias`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It points elsewhere than whoever asks believes.
    #[error("{name} points to {} by now, not to v{from}; look again before you roll back", shown(*.now))]
    Moved {
        name: String,
        from: i64,
        now: Option<i64>,
    },
    /// It is there.
    #[error("{name} points to v{version} already")]
    There { name: String, version: i64 },
    /// It never pointed to anything else.
    #[error("{name} pointed to nothing before v{version}: there is nothing to go back to")]
    NothingBefore { name: String, version: i64 },
    /// Back is only where it was.
    #[error("{name} never pointed to v{version}, {}; a version that is new to it goes through the gate of its flow", choice(.possible))]
    NeverThere {
        name: String,
        version: i64,
        possible: Vec<i64>,
    },
    /// Somebody else was faster.
    #[error("{name} is being rolled back already, by run {run}")]
    UnderWay { name: String, run: Uuid },
}

fn shown(version: Option<i64>) -> String {
    version.map_or_else(|| "nothing".to_owned(), |version| format!("v{version}"))
}

fn choice(possible: &[i64]) -> String {
    if possible.is_empty() {
        return "nor to any other one before".to_owned();
    }
    let listed: Vec<String> = possible.iter().map(|version| format!("v{version}")).collect();
    format!("only to {}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The moves of an alias through these versions, newest first, among those of another one.
    fn moves(versions: &[i64]) -> Vec<AliasMove> {
        let one = |alias: &str, nth: usize, version: i64| -> AliasMove {
            serde_json::from_value(json!({
                "alias": alias, "number": nth + 1, "before": null, "version": version,
                "at": Timestamp::from_second(nth as i64 * 60).expect("a second"), "actor": "anna", "run": null,
                "approval": (nth < 3).then(|| Uuid::from_u128(nth as u128)), "evidence": null, "rollback": null,
            }))
            .expect("a move")
        };
        let both = versions.iter().enumerate().rev();
        both.flat_map(|(nth, version)| [one("production", nth, *version), one("staging", nth, 90)])
            .collect()
    }

    fn target(versions: &[i64]) -> Option<i64> {
        Past::of(&moves(versions), "production").target()
    }

    #[test]
    fn rollbacks_in_a_row_go_further_back_and_never_forth() {
        assert_eq!(target(&[1, 2, 3]), Some(2));
        assert_eq!(target(&[1, 2, 3, 2]), Some(1));
        assert_eq!(target(&[1, 2, 3, 2, 1]), None);
        assert_eq!(target(&[1, 2, 3, 2, 4]), Some(2));
        assert_eq!(target(&[1, 2, 3, 1]), None, "what it jumped over is passed over");
        assert_eq!(target(&[1, 2, 3, 1, 3]), Some(1), "promoted anew, by its gate");
        assert_eq!(target(&[4]), None);
        assert_eq!(target(&[]), None);
    }

    #[test]
    fn it_may_go_wherever_it_was_and_nowhere_else() {
        let moves = moves(&[1, 2, 3, 2, 4]);
        let past = Past::of(&moves, "production");
        let judged = |to| {
            past.judge("m@production", (4, to))
                .map_err(|refusal| refusal.to_string())
        };
        assert_eq!(judged(None), Ok(2));
        assert_eq!(judged(Some(3)), Ok(3));
        assert_eq!(
            judged(Some(4)),
            Err("m@production points to v4 already".to_owned())
        );
        let never = "m@production never pointed to v90, only to v2, v3, v1; a version that is new to it goes through the gate of its flow";
        assert_eq!(judged(Some(90)), Err(never.to_owned()));
        let alone = Past::of(&moves[..0], "production").judge("m@production", (4, None));
        assert_eq!(
            alone.unwrap_err().to_string(),
            "m@production pointed to nothing before v4: there is nothing to go back to"
        );
    }

    #[test]
    fn an_earlier_version_is_shown_with_its_last_time_and_its_approval() {
        let moves = moves(&[1, 2, 3, 2, 4]);
        let earlier = Past::of(&moves, "production").earlier();
        let told: Vec<(i64, i64, Option<i64>)> = earlier
            .iter()
            .map(|reign| {
                let approved = reign.approved.map(|moved| moved.number);
                (reign.moved.version, reign.until.as_second() / 60, approved)
            })
            .collect();
        assert_eq!(told, [(2, 4, Some(2)), (3, 3, Some(3)), (1, 1, Some(1))]);
    }
}
