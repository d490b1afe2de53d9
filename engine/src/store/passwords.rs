//! Passwords: argon2id (19 MiB, 2 passes, 1 lane), on threads that may block, few at a time.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use super::{Result, StoreError};
use crate::clock;

/// Hashes at once: each takes 19 MiB, and a flood of sign-ins must not take the machine.
static ROOM: Semaphore = Semaphore::const_new(4);

/// Stands in for the hash of somebody who does not exist; no password fits it.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$boVEQs0qlAyelZQdzkrVmA$Y4KzzIgUErd7/K7tAmABwA2eMCXmbCD25+kvB5hRRio";

/// Hashes a password with a salt of its own.
pub(super) async fn hash(password: String) -> Result<String> {
    aside(move || {
        let salt: [u8; 16] = clock::random_bytes();
        let hash: Result<PasswordHash, _> =
            Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
        hash.map(|hash| hash.to_string())
    })
    .await?
    .map_err(|e| StoreError::Broken(format!("hashing a password: {e}")))
}

/// Whether a password fits a hash. Without a hash it takes as long, and never fits.
pub(super) async fn fits(hash: Option<String>, password: String) -> Result<bool> {
    aside(move || {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        let right = PasswordHash::new(&hash).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok()
        });
        known && right
    })
    .await
}

async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let room = ROOM
        .acquire()
        .await
        .map_err(|e| StoreError::Broken(e.to_string()))?;
    let work = move || {
        // Held by the thread: a caller that hung up frees no room that is still taken.
        let _room = room;
        work()
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| StoreError::Broken(e.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[tokio::test]
    async fn a_hash_says_how_it_was_made_and_fits_its_password_only() {
        let made = hash("correct horse".to_owned()).await.unwrap();
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
        assert_ne!(made, hash("correct horse".to_owned()).await.unwrap());
        assert!(
            fits(Some(made.clone()), "correct horse".to_owned())
                .await
                .unwrap()
        );
        assert!(!fits(Some(made), "correct house".to_owned()).await.unwrap());
        assert!(!fits(None, "correct horse".to_owned()).await.unwrap());
        assert!(
            PasswordHash::new(NOBODY).is_ok(),
            "an unknown name must cost a whole hash"
        );
    }
}
