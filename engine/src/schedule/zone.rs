//! Zones by name.

use jiff::tz::{self, TimeZone};

/// No zone has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone {name:?}")]
pub struct UnknownZone {
    /// As written.
    pub name: String,
    /// A zone whose name is near.
    pub near: Option<String>,
}

/// The zone of an IANA name (`UTC`, `Europe/Berlin`), whatever the case of its letters.
pub fn find_zone(name: &str) -> Result<TimeZone, UnknownZone> {
    let zone = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown());
    zone.ok_or_else(|| UnknownZone {
        name: name.to_owned(),
        near: near(name),
    })
}

fn near(name: &str) -> Option<String> {
    let name = name.to_lowercase().replace(' ', "_");
    let distance = |known: &str| {
        let known = known.to_lowercase();
        let city = known.rsplit('/').next().unwrap_or(&known);
        strsim::damerau_levenshtein(&known, &name).min(strsim::damerau_levenshtein(city, &name))
    };
    let names = tz::db().available().map(|known| known.as_str().to_owned());
    let best = names.map(|known| (distance(&known), known)).min()?;
    (best.0 <= 2).then_some(best.1)
}

/// Where zones come from, for diagnosis: the directory of the system's database, or jiff's bundled one.
pub fn zone_source() -> String {
    format!("{:?}", tz::db())
}
