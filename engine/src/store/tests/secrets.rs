//! Secrets on a real PostgreSQL: set, listed without values, removed, each in the ledger by name.

use super::{Bench, task};
use crate::command::{Actor, CommandError, Role, remove_secret, set_secret};
use crate::secrets::SecretKey;

#[tokio::test]
async fn a_secret_is_stored_sealed_and_its_changes_are_in_the_ledger_by_name() {
    let bench = Bench::with(vec![task("a", &[], 1)]).await;
    let (store, now) = (&bench.store, bench.now);
    let key = SecretKey::parse(&"3".repeat(64)).unwrap();
    let admin = Actor::person("adam", [Role::Admin]);
    let olga = Actor::person("olga", [Role::Operator]);
    let set =
        async |who: &Actor, name: &str, value: &str| set_secret(store, who, (&key, name, value), now).await;
    assert!(set(&admin, "token", "kanarienvogel").await.unwrap());
    assert!(!set(&admin, "token", "kanarienvogel 2").await.unwrap());
    assert!(matches!(
        set(&olga, "other", "kanarienvogel").await,
        Err(CommandError::Forbidden { .. })
    ));
    for (name, value, why) in [
        ("token", "short", "6 characters"),
        ("1a", "kanarienvogel", "no name"),
        ("a-b", "kanarienvogel", "no name"),
    ] {
        let refused = set(&admin, name, value).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let names = std::collections::BTreeSet::from(["token".to_owned(), "nothing".to_owned()]);
    let (name, sealed) = store.sealed(&names).await.unwrap().remove(0);
    assert_eq!(key.open(&name, &sealed).unwrap(), "kanarienvogel 2");
    let listed = store.secrets().await.unwrap();
    assert_eq!(
        (
            listed.len(),
            listed[0].name.as_str(),
            listed[0].updated_by.as_str()
        ),
        (1, "token", "adam")
    );
    remove_secret(store, &admin, "token", now).await.unwrap();
    assert!(matches!(
        remove_secret(store, &admin, "token", now).await,
        Err(CommandError::NotFound { .. })
    ));
    let ledger: String = sqlx::query_scalar(
        "select string_agg(kind || body, ' ' order by seq) from ledger where kind <> 'flow_applied'",
    )
    .fetch_one(store.pool())
    .await
    .unwrap();
    assert_eq!(
        ledger,
        "secret_set{\"secret\":\"token\"} secret_set{\"secret\":\"token\"} secret_removed{\"secret\":\"token\"}"
    );
    bench.audit().await;
}
