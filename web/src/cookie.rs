//! The session cookie.

use axum::http::{HeaderMap, HeaderValue, header};

/// Over TLS: bound to this host, to its root, to TLS.
const SECURE: &str = "__Host-tidegate";
const PLAIN: &str = "tidegate";
/// Seconds a browser keeps it. The session itself may end earlier; the store says when.
const KEPT: u32 = 7 * 24 * 3600;

/// The token a browser sent, under the one name that counts here.
pub fn token(headers: &HeaderMap, https: bool) -> Option<String> {
    let wanted = if https { SECURE } else { PLAIN };
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let mut found = pairs.filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == wanted && !value.is_empty()).then(|| value.to_owned())
    });
    found.next()
}

/// Sets it.
pub fn set(token: &str, https: bool) -> Option<HeaderValue> {
    header(token, KEPT, https)
}

/// Takes it away.
pub fn clear(https: bool) -> Option<HeaderValue> {
    header("", 0, https)
}

fn header(value: &str, seconds: u32, https: bool) -> Option<HeaderValue> {
    let (name, secure) = if https { (SECURE, "; Secure") } else { (PLAIN, "") };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_tls_only_the_cookie_bound_to_the_host_counts() {
        let mut headers = HeaderMap::new();
        let sent = HeaderValue::from_static("a=b; tidegate=planted; __Host-tidegate=ours");
        headers.insert(header::COOKIE, sent);
        assert_eq!(token(&headers, true).as_deref(), Some("ours"));
        assert_eq!(token(&headers, false).as_deref(), Some("planted"));
        assert_eq!(
            clear(true).unwrap(),
            "__Host-tidegate=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0; Secure"
        );
    }
}
