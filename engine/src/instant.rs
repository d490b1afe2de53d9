//! Instants as people write them: RFC 3339, `2026-11-29T08:00:00Z`.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

/// How one is written, as a way out.
pub const FORM: &str = "write it like \"2026-11-29T08:00:00Z\" or \"2026-11-29T09:00:00+01:00\" (RFC 3339)";

/// Why a text is no instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no instant; {FORM}")]
pub struct InstantError(pub String);

/// Reads an instant with its offset.
pub fn parse(text: &str) -> Result<Timestamp, InstantError> {
    text.parse().map_err(|_| InstantError(text.to_owned()))
}

/// For serde's `deserialize_with`: an instant, or none.
pub fn read_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| parse(&text).map_err(de::Error::custom))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_instant_is_named_with_the_way_out() {
        assert!(parse("2026-11-29T09:00:00+01:00").is_ok());
        for wrong in ["tomorrow", "2026-11-29", "2026-11-29T08:00:00", ""] {
            let told = parse(wrong).map_err(|e| e.to_string());
            let said = format!("{wrong:?} is no instant; {FORM}");
            assert_eq!(told, Err(said));
        }
    }
}
