//! Signatures of webhooks: who may speak, and that nobody says it again later.
//!
//! | sender | signed (HMAC-SHA256) | headers |
//! |---|---|---|
//! | Tidegate, both ways | `TIMESTAMP.BODY` | `Tidegate-Timestamp`, `Tidegate-Signature: v1=HEX` |
//! | MLflow (3.x, `mlflow/webhooks/delivery.py`) | `DELIVERY.TIMESTAMP.BODY` | `X-MLflow-Delivery-Id`, `X-MLflow-Timestamp`, `X-MLflow-Signature: v1,BASE64` |
//! | GitHub | `BODY` | `X-Hub-Signature-256: sha256=HEX` |

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::graph::Sender;

/// Seconds by which the clocks of sender and receiver may differ, and how long a message may be under way.
pub const TOLERANCE: i64 = 300;

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// A header that belongs to a signature is not there, or is none.
    #[error("the signature's headers are missing or malformed")]
    Unsigned,
    /// Another secret, or another body.
    #[error("the signature does not fit")]
    Forged,
    /// A timestamp too far from now.
    #[error("the timestamp is more than five minutes from now")]
    Stale,
}

/// HMAC-SHA256 over timestamp, dot and body, in hexadecimal digits.
pub fn sign(secret: &str, timestamp: &str, body: &str) -> String {
    hex::encode(hmac::sign(&key(secret), format!("{timestamp}.{body}").as_bytes()))
}

/// Checks a message at `now` (seconds since 1970); `header` answers the value of a header by its name. Answers what names this message
/// among all that are signed with the secret: whoever says it again says the same.
pub fn check<'h>(
    (sender, secret): (Sender, &str),
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
    now: i64,
) -> Result<String, Distrust> {
    let of = |name: &str| header(name).ok_or(Distrust::Unsigned);
    let (claimed, signed, at) = match sender {
        Sender::Tidegate => {
            let at = of("tidegate-timestamp")?;
            let claimed = hex_after(of("tidegate-signature")?, "v1=")?;
            (claimed, format!("{at}.").into_bytes(), Some(at))
        }
        Sender::Mlflow => {
            let (delivery, at) = (of("x-mlflow-delivery-id")?, of("x-mlflow-timestamp")?);
            let claimed = of("x-mlflow-signature")?.strip_prefix("v1,");
            let claimed = STANDARD.decode(claimed.ok_or(Distrust::Unsigned)?);
            let claimed = claimed.map_err(|_| Distrust::Unsigned)?;
            (claimed, format!("{delivery}.{at}.").into_bytes(), Some(at))
        }
        Sender::Github => {
            let claimed = hex_after(of("x-hub-signature-256")?, "sha256=")?;
            (claimed, Vec::new(), None)
        }
    };
    let signed = [signed.as_slice(), body].concat();
    // In constant time.
    hmac::verify(&key(secret), &signed, &claimed).map_err(|_| Distrust::Forged)?;
    if let Some(at) = at {
        let at: i64 = at.parse().map_err(|_| Distrust::Unsigned)?;
        if at.abs_diff(now) > TOLERANCE.unsigned_abs() {
            return Err(Distrust::Stale);
        }
    }
    Ok(hex::encode(claimed))
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

fn hex_after(value: &str, prefix: &str) -> Result<Vec<u8>, Distrust> {
    let digits = value.strip_prefix(prefix).ok_or(Distrust::Unsigned)?;
    hex::decode(digits).map_err(|_| Distrust::Unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"entity":"model_version_alias","action":"created"}"#;

    fn checked(sender: Sender, headers: &[(&str, &str)], now: i64) -> Result<String, Distrust> {
        let header = |name: &str| {
            headers
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        };
        check((sender, "correct horse"), header, BODY, now)
    }

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // RFC 4231, test case 2.
        let rfc = hex::encode(hmac::sign(&key("Jefe"), b"what do ya want for nothing?"));
        assert_eq!(
            rfc,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            sign("Jefe", "1", "x"),
            hex::encode(hmac::sign(&key("Jefe"), b"1.x"))
        );
    }

    #[test]
    fn what_tidegate_signs_it_believes_for_five_minutes() {
        let signature = format!(
            "v1={}",
            sign("correct horse", "1000", std::str::from_utf8(BODY).unwrap())
        );
        let headers = [("tidegate-timestamp", "1000"), ("tidegate-signature", &signature)];
        assert!(checked(Sender::Tidegate, &headers, 1000).is_ok());
        assert!(checked(Sender::Tidegate, &headers, 1300).is_ok());
        assert_eq!(checked(Sender::Tidegate, &headers, 1301), Err(Distrust::Stale));
        assert_eq!(checked(Sender::Tidegate, &headers, 699), Err(Distrust::Stale));
        let later = [("tidegate-timestamp", "1001"), headers[1]];
        assert_eq!(checked(Sender::Tidegate, &later, 1000), Err(Distrust::Forged));
        assert_eq!(
            checked(Sender::Tidegate, &headers[..1], 1000),
            Err(Distrust::Unsigned)
        );
    }

    /// The values are those of the functions that sign in MLflow 3 and in GitHub's documentation, called with this secret and body.
    #[test]
    fn what_others_sign_is_believed_too() {
        let mlflow = [
            ("x-mlflow-delivery-id", "d-1"),
            ("x-mlflow-timestamp", "1000"),
            (
                "x-mlflow-signature",
                "v1,PAL3qPatPwxsaEK+C20RAf8Mx9K6nvjG7dmtE8qkGv4=",
            ),
        ];
        assert!(checked(Sender::Mlflow, &mlflow, 1000).is_ok());
        assert_eq!(checked(Sender::Mlflow, &mlflow, 2000), Err(Distrust::Stale));
        let github = [(
            "x-hub-signature-256",
            "sha256=ca37a288234155a326c271ec4218469892366f5086ef9ea16e1c363b7650e0a8",
        )];
        assert!(checked(Sender::Github, &github, 1000).is_ok());
        let cut = [("x-hub-signature-256", "sha256=00")];
        assert_eq!(checked(Sender::Github, &cut, 1000), Err(Distrust::Forged));
    }
}
