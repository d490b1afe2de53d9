//! Where a request came from, as far as the browser says.

use axum::http::{HeaderMap, header};

/// What the browser says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A page of ours.
    Ours,
    /// A page of someone else's.
    Foreign,
    /// Nothing: no browser, an old one, or the address bar.
    Unknown,
}

/// `Sec-Fetch-Site` where it is there, else `Origin`. A form of ours sends `Origin: null`, since our pages send no referrer: that
/// alone says nothing, and the form's token decides.
pub fn of(headers: &HeaderMap) -> Origin {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-site") {
        Some("same-origin") => return Origin::Ours,
        Some("none") => return Origin::Unknown,
        Some(_) => return Origin::Foreign,
        None => {}
    }
    match text(header::ORIGIN.as_str()) {
        None | Some("null") => Origin::Unknown,
        Some(origin) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            if host.is_some() && host == text(header::HOST.as_str()) {
                Origin::Ours
            } else {
                Origin::Foreign
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&'static str, &'static str)]) -> Origin {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        of(&headers)
    }

    #[test]
    fn foreign_pages_and_sister_domains_are_foreign() {
        assert_eq!(with(&[("sec-fetch-site", "cross-site")]), Origin::Foreign);
        assert_eq!(with(&[("sec-fetch-site", "same-site")]), Origin::Foreign);
        assert_eq!(
            with(&[("sec-fetch-site", "same-origin"), ("origin", "null")]),
            Origin::Ours
        );
        assert_eq!(
            with(&[("origin", "https://evil.example"), ("host", "tide.example")]),
            Origin::Foreign
        );
        assert_eq!(
            with(&[("origin", "https://tide.example"), ("host", "tide.example")]),
            Origin::Ours
        );
        assert_eq!(
            with(&[("origin", "null"), ("host", "tide.example")]),
            Origin::Unknown
        );
        assert_eq!(with(&[]), Origin::Unknown);
    }
}
