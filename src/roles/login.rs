//! The first login of a fresh home.

use tidegate_engine::clock;
use tidegate_engine::command::Role;
use tidegate_engine::store::Store;
use tidegate_engine::store::people::NewPerson;

use crate::failure::Failure;

/// Letters and digits of passwords: those that nobody takes for another. 32 of them, so that five bits choose one evenly.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Name and password of somebody who was just made.
#[derive(Debug, Clone)]
pub struct Login {
    /// Name.
    pub name: String,
    /// Password; kept nowhere but as a hash.
    pub password: String,
}

/// Makes a person when there is nobody yet.
pub async fn first_login(store: &Store, name: &str, roles: &[Role]) -> Result<Option<Login>, Failure> {
    if !store.people().await?.is_empty() {
        return Ok(None);
    }
    let login = Login {
        name: name.to_owned(),
        password: password(),
    };
    let person = NewPerson {
        name: login.name.clone(),
        roles: roles.to_vec(),
        password: Some(login.password.clone()),
        os_user: None,
    };
    let made = store.add_person(person, clock::now()).await?;
    Ok(made.then_some(login))
}

/// A random password of 80 bits that can be read aloud: `k7mq-x2vn-…`.
pub fn password() -> String {
    let letters: Vec<char> = clock::random_bytes::<16>()
        .iter()
        .map(|byte| LETTERS[usize::from(byte % 32)].into())
        .collect();
    let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
    groups.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_legible_and_differ() {
        let (first, second) = (password(), password());
        assert_ne!(first, second);
        assert_eq!(first.len(), 19);
        assert!(
            first.chars().all(|c| c == '-' || LETTERS.contains(&(c as u8))),
            "{first}"
        );
    }
}
