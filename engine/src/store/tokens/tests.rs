//! Tokens on a real PostgreSQL: whom they let in, as what, and what ends that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use jiff::Timestamp;
use tidegate_test_fixtures::postgres::{self, Database};

use crate::clock;
use crate::command::{self, Actor, CommandError, Role, TokenRequest};
use crate::store::Store;
use crate::store::people::NewPerson;
use crate::view::Token;

struct Door {
    store: Store,
    now: Timestamp,
    _database: Database,
}

fn request(roles: &[Role], service: Option<&str>) -> TokenRequest {
    TokenRequest {
        name: "nightly".to_owned(),
        service: service.map(str::to_owned),
        roles: roles.to_vec(),
        expires: Duration::from_secs(3600),
    }
}

fn anna() -> Actor {
    Actor::person("anna", [Role::Approver, Role::Operator])
}

impl Door {
    /// With anna, who may approve and operate.
    async fn open() -> Self {
        let database = postgres::database().await;
        let store = Store::connect(&database.url, 8).await.unwrap();
        store.migrate().await.unwrap();
        let now = clock::now();
        let person = NewPerson {
            name: "anna".to_owned(),
            roles: vec![Role::Approver, Role::Operator],
            ..NewPerson::default()
        };
        assert!(store.add_person(person, now).await.unwrap());
        Self {
            store,
            now,
            _database: database,
        }
    }

    async fn make(&self, by: &Actor, request: TokenRequest) -> Result<(Token, String), CommandError> {
        command::create_token(&self.store, by, request, self.now).await
    }

    async fn who(&self, secret: &str) -> Option<Actor> {
        self.store.bearer(secret, self.now).await.unwrap()
    }

    async fn kinds(&self) -> Vec<String> {
        sqlx::query_scalar("select kind from ledger order by seq")
            .fetch_all(self.store.pool())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_token_acts_as_its_owner_and_nothing_in_the_database_is_one() {
    let door = Door::open().await;
    let (token, secret) = door
        .make(&anna(), request(&[Role::Operator], None))
        .await
        .unwrap();
    assert!(secret.starts_with("tg_") && secret.len() == 46, "{secret}");
    let who = door.who(&secret).await.unwrap();
    assert_eq!(who.name, "anna");
    assert!(who.is_person && who.has(Role::Operator) && !who.has(Role::Approver));
    assert_eq!(door.who(&format!("tg_{}", "x".repeat(43))).await, None);
    let stored: String = sqlx::query_scalar("select concat(t.*) from token t")
        .fetch_one(door.store.pool())
        .await
        .unwrap();
    assert!(!stored.contains(&secret[3..]), "{stored}");
    let listed = door.store.tokens(Some("anna"), door.now).await.unwrap();
    assert_eq!((listed[0].id, listed[0].used_at), (token.id, Some(door.now)));
    let kept: String = sqlx::query_scalar("select body from ledger")
        .fetch_one(door.store.pool())
        .await
        .unwrap();
    assert!(
        kept.contains(&token.id.to_string()) && !kept.contains(&secret[3..]),
        "{kept}"
    );
}

#[tokio::test]
async fn a_token_ends_with_its_time_its_revocation_and_its_owner() {
    let door = Door::open().await;
    let make = async || {
        door.make(&anna(), request(&[Role::Operator], None))
            .await
            .unwrap()
    };
    let (_, secret) = make().await;
    let late = door.now.checked_add(Duration::from_secs(3600)).unwrap();
    assert_eq!(
        door.store.bearer(&secret, late).await.unwrap(),
        None,
        "its time is over"
    );

    let (token, revoked) = make().await;
    for _ in 0..2 {
        let done = command::revoke_token(&door.store, &anna(), token.id, door.now)
            .await
            .unwrap();
        assert_eq!(
            (done.state.as_str(), done.revoked_by.as_deref()),
            ("revoked", Some("anna"))
        );
    }
    assert_eq!(door.who(&revoked).await, None);
    assert!(door.who(&secret).await.is_some(), "the other one lives");
    assert_eq!(
        door.kinds().await,
        ["token_created", "token_created", "token_revoked"],
        "the second revocation changed nothing"
    );

    let root = Actor::os("root");
    let viewer = ("anna", &[Role::Viewer][..]);
    assert!(door.store.set_roles(&root, viewer, door.now).await.unwrap());
    let who = door.who(&secret).await.unwrap();
    assert!(!who.has(Role::Operator), "no more than its owner has: {who:?}");
    assert!(door.store.disable("anna", door.now).await.unwrap());
    assert_eq!(door.who(&secret).await, None, "its owner may do nothing any more");
}

#[tokio::test]
async fn nobody_makes_a_token_that_may_more_or_belongs_to_another() {
    let door = Door::open().await;
    let ada = Actor::person("ada", [Role::Admin]);
    let refused = async |by: &Actor, request: TokenRequest| {
        let made = door.make(by, request).await;
        made.map(|(token, _)| token.owner).unwrap_err().to_string()
    };
    assert!(
        refused(&anna(), request(&[Role::Admin], None))
            .await
            .contains("not granted the role admin")
    );
    assert!(
        refused(&anna(), request(&[Role::Viewer], Some("ci")))
            .await
            .contains("not granted the role admin")
    );
    assert!(
        refused(&ada, request(&[Role::Approver], Some("ci")))
            .await
            .contains("only people decide")
    );
    assert!(
        refused(&ada, request(&[Role::Viewer], Some("c i")))
            .await
            .contains("is no name")
    );
    assert!(
        refused(&Actor::os("root"), request(&[Role::Viewer], None))
            .await
            .contains("belongs to the person")
    );
    assert!(
        refused(&anna(), request(&[], None))
            .await
            .contains("needs a role")
    );
    let long = TokenRequest {
        expires: Duration::from_secs(367 * 86_400),
        ..request(&[Role::Viewer], None)
    };
    assert!(refused(&anna(), long).await.contains("at most 366d"));

    let (token, secret) = door
        .make(&ada, request(&[Role::Operator], Some("ci")))
        .await
        .unwrap();
    let ci = door.who(&secret).await.unwrap();
    assert_eq!(ci.name, "service:ci");
    assert!(!ci.is_person && ci.has(Role::Operator));
    let theirs = command::revoke_token(&door.store, &anna(), token.id, door.now).await;
    assert!(
        matches!(theirs, Err(CommandError::NotFound { .. })),
        "not anna's to end"
    );
    assert_eq!(command::tokens(&door.store, &anna(), door.now).await.unwrap(), []);
    assert_eq!(
        command::tokens(&door.store, &ada, door.now).await.unwrap().len(),
        1
    );
}
