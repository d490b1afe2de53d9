//! Where someone goes after signing in: only to paths of our own.

/// The path, if it stays here; else the overview. `//evil`, `/\evil`, `https:evil` and anything with control characters do not.
pub fn safe(path: Option<&str>) -> &str {
    let stays = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && !path.contains('\\')
            && !path.contains(|c: char| c.is_control() || c.is_whitespace())
            && path.is_ascii()
            && !path.starts_with("/sign-")
    };
    path.filter(stays).unwrap_or("/")
}

/// `/sign-in?next=…` for a path.
pub fn sign_in(path: &str) -> String {
    match safe(Some(path)) {
        "/" => "/sign-in".to_owned(),
        path => format!("/sign-in?next={}", encode(path)),
    }
}

/// Percent-encodes what is not unreserved, for a part of a path or query.
pub fn encode(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_our_own_are_followed() {
        let strangers = [
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https:evil.example",
            "https://evil.example/",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/\n/evil.example",
            " //evil.example",
            "evil",
            "",
            "/sign-out",
            "/sign-in?next=/sign-in",
        ];
        for stranger in strangers {
            assert_eq!(safe(Some(stranger)), "/", "{stranger:?}");
        }
        assert_eq!(safe(None), "/");
        assert_eq!(safe(Some("/runs/x?task=a")), "/runs/x?task=a");
    }

    #[test]
    fn a_query_survives_its_way_through_the_sign_in_page() {
        assert_eq!(
            sign_in("/runs?state=failed&flow=f"),
            "/sign-in?next=%2Fruns%3Fstate%3Dfailed%26flow%3Df"
        );
        assert_eq!(sign_in("/"), "/sign-in");
    }
}
