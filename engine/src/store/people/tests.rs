//! People on a real PostgreSQL: who gets in, for how long, and what ends it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::time::Duration;

use jiff::Timestamp;
use tidegate_test_fixtures::postgres::{self, Database};

use super::super::{Store, StoreError};
use super::NewPerson;
use crate::clock;
use crate::command::{self, Actor, CommandError, Role};

const PASSWORD: &str = "correct horse";

struct Door {
    store: Store,
    now: Timestamp,
    _database: Database,
}

fn person(name: &str, roles: &[Role]) -> NewPerson {
    NewPerson {
        name: name.to_owned(),
        roles: roles.to_vec(),
        password: Some(PASSWORD.to_owned()),
        os_user: None,
    }
}

impl Door {
    /// With anna, who may approve.
    async fn open() -> Self {
        let database = postgres::database().await;
        let store = Store::connect(&database.url, 8).await.unwrap();
        store.migrate().await.unwrap();
        let now = clock::now();
        let made = store.add_person(person("anna", &[Role::Approver]), now).await;
        assert!(made.unwrap());
        Self {
            store,
            now,
            _database: database,
        }
    }

    fn after(&self, seconds: u64) -> Timestamp {
        self.now.checked_add(Duration::from_secs(seconds)).unwrap()
    }

    async fn grants(&self, name: &str, roles: &[Role]) -> Result<bool, StoreError> {
        let by = Actor::os("root");
        self.store.set_roles(&by, (name, roles), self.now).await
    }

    async fn token(&self) -> String {
        let opened = self.store.sign_in("anna", PASSWORD, self.now).await.unwrap();
        opened.expect("the right password opens a session").token
    }

    async fn enters(&self, name: &str, password: &str, at: Timestamp) -> bool {
        self.store.sign_in(name, password, at).await.unwrap().is_some()
    }

    async fn knows(&self, token: &str, at: Timestamp) -> bool {
        self.store.session(token, at).await.unwrap().is_some()
    }
}

#[tokio::test]
async fn a_session_is_whose_it_is_and_nothing_in_the_database_opens_it() {
    let door = Door::open().await;
    let token = door.token().await;
    let signed = door.store.session(&token, door.now).await.unwrap().unwrap();
    assert_eq!(signed.actor.name, "anna");
    assert!(signed.actor.is_person && signed.actor.has(Role::Approver) && !signed.actor.has(Role::Operator));
    let stored: String = sqlx::query_scalar("select concat(s.*, p.*) from session s, person p")
        .fetch_one(door.store.pool())
        .await
        .unwrap();
    assert!(!stored.contains(&token) && !stored.contains(PASSWORD), "{stored}");
    assert_ne!(door.token().await, token, "every sign-in has a token of its own");
    door.store.sign_out(&token).await.unwrap();
    assert!(!door.knows(&token, door.now).await);
    assert!(!door.knows("", door.now).await);
}

#[tokio::test]
async fn a_session_slides_along_for_twelve_hours_and_ends_after_a_week() {
    let door = Door::open().await;
    let unused = door.token().await;
    let used = door.token().await;
    for hour in (11..7 * 24).step_by(11) {
        assert!(door.knows(&used, door.after(hour * 3600)).await, "hour {hour}");
    }
    assert!(!door.knows(&unused, door.after(12 * 3600)).await);
    assert!(!door.knows(&used, door.after(7 * 24 * 3600)).await);
}

#[tokio::test]
async fn what_changes_about_a_person_ends_the_sessions() {
    let door = Door::open().await;
    let token = door.token().await;
    assert!(door.grants("anna", &[Role::Approver]).await.unwrap());
    assert!(door.knows(&token, door.now).await, "nothing changed");
    assert!(door.grants("anna", &[Role::Viewer]).await.unwrap());
    assert!(!door.knows(&token, door.now).await, "other grants");

    let token = door.token().await;
    let roles = door
        .store
        .session(&token, door.now)
        .await
        .unwrap()
        .unwrap()
        .actor
        .roles;
    assert_eq!(roles.into_iter().collect::<Vec<_>>(), [Role::Viewer]);
    door.store
        .set_password("anna", "another horse".to_owned())
        .await
        .unwrap();
    assert!(!door.knows(&token, door.now).await, "another password");
    assert!(!door.enters("anna", PASSWORD, door.now).await);
    assert!(door.enters("anna", "another horse", door.now).await);

    let token = door
        .store
        .sign_in("anna", "another horse", door.now)
        .await
        .unwrap()
        .unwrap()
        .token;
    assert!(door.store.disable("anna", door.now).await.unwrap());
    assert!(!door.knows(&token, door.now).await, "disabled");
    assert!(!door.enters("anna", "another horse", door.now).await);
    assert!(door.store.people().await.unwrap()[0].disabled_at.is_some());

    for nobody in [
        door.grants("otto", &[]).await,
        door.store.set_password("otto", PASSWORD.to_owned()).await,
        door.store.disable("otto", door.now).await,
    ] {
        assert!(!nobody.unwrap());
    }
}

#[tokio::test]
async fn wrong_passwords_slow_an_account_down_but_never_lock_it() {
    let door = Door::open().await;
    for _ in 0..5 {
        assert!(!door.enters("anna", "wrong horse", door.now).await);
    }
    assert!(
        !door.enters("anna", PASSWORD, door.now).await,
        "has to wait, right or wrong"
    );
    assert!(door.enters("anna", PASSWORD, door.after(1)).await);
    for second in (10..200).step_by(5) {
        door.enters("anna", "wrong horse", door.after(second)).await;
    }
    let late = door.after(195 + 60);
    assert!(
        door.enters("anna", PASSWORD, late).await,
        "a minute is the longest pause"
    );
    assert!(
        door.enters("anna", PASSWORD, late).await,
        "a success forgets what failed before"
    );
}

#[tokio::test]
async fn many_guesses_at_once_count_one_by_one() {
    let door = Door::open().await;
    let guesses = (0..20).map(|n| {
        let (store, now) = (door.store.clone(), door.now);
        tokio::spawn(async move { store.sign_in("anna", &format!("guess number {n}"), now).await })
    });
    for guess in futures::future::join_all(guesses).await {
        assert!(guess.unwrap().unwrap().is_none());
    }
    let counted: i32 = sqlx::query_scalar("select count from sign_in_try")
        .fetch_one(door.store.pool())
        .await
        .unwrap();
    assert_eq!(counted, 5, "the rest was refused unseen");
}

#[tokio::test]
async fn an_unknown_name_leaves_the_same_trace_as_a_known_one() {
    let door = Door::open().await;
    let quickest = async |name: &str| {
        let mut quickest = Duration::MAX;
        for _ in 0..4 {
            let started = clock::monotonic();
            assert!(!door.enters(name, "wrong horse", door.now).await);
            quickest = quickest.min(started.elapsed());
        }
        quickest
    };
    let (known, unknown) = (quickest("anna").await, quickest("nobody").await);
    assert!(
        unknown > known / 3 && known > unknown / 3,
        "{unknown:?} for an unknown name, {known:?} for a known one"
    );
    let traces: i64 = sqlx::query_scalar("select count(*) from sign_in_try where count = 4")
        .fetch_one(door.store.pool())
        .await
        .unwrap();
    assert_eq!(traces, 2);
}

#[tokio::test]
async fn names_accounts_and_passwords_that_cannot_be_taken_are_refused_with_the_reason() {
    let door = Door::open().await;
    let told = async |person: NewPerson| match door.store.add_person(person, door.now).await {
        Err(StoreError::Refused { why }) => why,
        other => panic!("{other:?}"),
    };
    for name in [
        "",
        "system",
        "os:root",
        "role:approver",
        "an na",
        "аnna",
        "-x",
        &"x".repeat(64),
    ] {
        assert!(told(person(name, &[])).await.contains("is no name"), "{name}");
    }
    let short = NewPerson {
        password: Some("seven77".to_owned()),
        ..person("otto", &[])
    };
    assert!(told(short).await.contains("at least 8"));
    let claims = |name: &str| NewPerson {
        os_user: Some("root".to_owned()),
        password: None,
        ..person(name, &[Role::Admin])
    };
    assert!(door.store.add_person(claims("otto"), door.now).await.unwrap());
    assert!(told(claims("bob")).await.contains("acts as otto"));
    assert!(
        !door
            .store
            .add_person(person("anna", &[Role::Admin]), door.after(1))
            .await
            .unwrap()
    );
    assert!(
        !door.enters("otto", PASSWORD, door.now).await,
        "no password, no sign-in"
    );
}

#[tokio::test]
async fn an_account_of_the_operating_system_acts_as_the_person_who_claims_it() {
    let door = Door::open().await;
    let unclaimed = door.store.actor_of_account("root").await.unwrap();
    assert_eq!((unclaimed.name.as_str(), unclaimed.is_person), ("os:root", false));
    let claims = NewPerson {
        os_user: Some("root".to_owned()),
        ..person("otto", &[Role::Approver])
    };
    door.store.add_person(claims, door.now).await.unwrap();
    let claimed = door.store.actor_of_account("root").await.unwrap();
    assert_eq!((claimed.name.as_str(), claimed.is_person), ("otto", true));
    assert!(!claimed.has(Role::Admin));
}

#[tokio::test]
async fn who_made_whom_and_who_changed_what_they_may_stands_in_the_ledger() {
    let door = Door::open().await;
    let (store, now) = (&door.store, door.now);
    let root = Actor::os("root");
    let otto = person("otto", &[Role::Viewer]);
    let made = command::add_person(store, &root, otto.clone(), now).await;
    assert!(made.unwrap());
    let again = command::add_person(store, &root, otto, door.after(1)).await;
    assert!(!again.unwrap());
    for _ in 0..2 {
        command::set_roles(store, &root, ("otto", &[Role::Approver]), now)
            .await
            .unwrap();
    }
    let nobody = command::set_roles(store, &root, ("emil", &[]), now).await;
    assert!(matches!(nobody, Err(CommandError::NotFound { .. })), "{nobody:?}");
    let anna = Actor::person("anna", [Role::Approver]);
    let herself = command::set_roles(store, &anna, ("anna", &[Role::Admin]), now).await;
    assert!(
        matches!(herself, Err(CommandError::Forbidden { .. })),
        "{herself:?}"
    );
    let kept: Vec<String> =
        sqlx::query_scalar("select concat_ws(' ', actor, kind, body) from ledger order by seq")
            .fetch_all(store.pool())
            .await
            .unwrap();
    assert_eq!(
        kept,
        [
            r#"os:root person_added {"os_user":null,"person":"otto","roles":["viewer"]}"#,
            r#"os:root roles_changed {"from":["viewer"],"person":"otto","to":["approver"]}"#,
        ]
    );
}
