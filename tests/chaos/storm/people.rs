//! Who is ashore while it blows: they ask for runs under keys and keep at it until each is acknowledged, cancel some, and decide two
//! at a time on what is asked of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_engine::clock;
use tidegate_engine::command::{self, Actor, Role};
use tidegate_engine::store::Store;
use tidegate_engine::store::people::NewPerson;
use tokio::task::JoinSet;

use super::dice::Dice;
use super::fleet::Fleet;
use crate::house::{PASSWORD, Visitor};

/// Who asks, and who decides.
const ASKERS: [&str; 2] = ["otto", "olga"];
const DECIDERS: [&str; 2] = ["anna", "bob"];
/// So many runs may be under way: the storm is about faults, not about load.
const UNDER_WAY: i64 = 150;
/// One run in so many has processes in it, and asks a person.
const HEAVY: u64 = 5;

/// What people saw with their own eyes.
#[derive(Default)]
pub struct Seen {
    /// The run that was acknowledged for each key.
    pub runs: BTreeMap<String, String>,
    /// How often each answer was given to whom decided.
    pub decisions: BTreeMap<u16, u64>,
    /// Decisions that were acknowledged: approval and word.
    pub decided: Vec<(String, String)>,
}

/// What they share.
pub struct Town {
    urls: Vec<String>,
    store: Store,
    visitors: BTreeMap<&'static str, Visitor>,
    /// Answers that never came, and refusals for the moment.
    pub unanswered: AtomicU64,
    /// Requests whose first answer was lost: the repeat found the run there.
    pub repeats: AtomicU64,
    /// Runs that were cancelled.
    pub cancelled: AtomicU64,
    pub seen: Mutex<Seen>,
}

impl Town {
    pub async fn found(fleet: &Fleet) -> Self {
        let mut visitors = BTreeMap::new();
        let roles = |role| move |name: &'static str| (name, role);
        let all = ASKERS.into_iter().map(roles(Role::Operator));
        for (name, role) in all.chain(DECIDERS.into_iter().map(roles(Role::Approver))) {
            let person = NewPerson {
                name: name.to_owned(),
                roles: vec![role],
                password: Some(PASSWORD.to_owned()),
                os_user: None,
            };
            let made = command::add_person(&fleet.store, &Actor::os("tests"), person, clock::now()).await;
            assert!(made.unwrap(), "{name}");
            visitors.insert(name, Visitor::sign_in_at(&fleet.urls[0], name).await);
        }
        Self {
            urls: fleet.urls.clone(),
            store: fleet.store.clone(),
            visitors,
            unanswered: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            seen: Mutex::default(),
        }
    }

    /// Asks either server; `None`: no answer, or one that says to come again. Now and then somebody hangs up before the answer is there.
    async fn ask(&self, who: &str, request: Request<'_>, dice: &mut Dice) -> Option<(u16, Value)> {
        let url = &self.urls[dice.between(0, self.urls.len() as u64) as usize];
        let patience = if dice.once_in(20) {
            Duration::from_millis(dice.between(1, 20))
        } else {
            Duration::MAX
        };
        let asking = self.visitors[who].try_send(url, request.path, (request.body, request.key));
        let answer = tokio::time::timeout(patience, asking).await.ok().flatten();
        let answer = answer.filter(|(status, _)| *status < 500);
        if answer.is_none() {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            clock::sleep(Duration::from_millis(dice.between(50, 400))).await;
        }
        answer
    }

    fn note<T>(&self, what: impl FnOnce(&mut Seen) -> T) -> T {
        what(&mut self.seen.lock().unwrap())
    }

    async fn is_crowded(&self) -> bool {
        let open = sqlx::query_scalar::<_, i64>("select count(*) from active_run");
        // PostgreSQL may be down just now.
        open.fetch_one(self.store.pool())
            .await
            .is_ok_and(|open| open > UNDER_WAY)
    }
}

struct Request<'a> {
    path: &'a str,
    body: Option<&'a Value>,
    key: Option<&'a str>,
}

/// Those who are out there, and whether they go on.
pub struct Ashore {
    askers: Party,
    deciders: Party,
}

#[derive(Default)]
struct Party {
    people: JoinSet<()>,
    over: Arc<AtomicBool>,
}

impl Party {
    /// Each ends what they are at.
    async fn end(&mut self) {
        self.over.store(true, Ordering::Release);
        while let Some(ended) = self.people.join_next().await {
            ended.unwrap();
        }
    }
}

impl Ashore {
    pub fn send(town: &Arc<Town>, dice: &mut Dice) -> Self {
        let (mut askers, mut deciders) = (Party::default(), Party::default());
        for who in ASKERS {
            let over = Arc::clone(&askers.over);
            askers
                .people
                .spawn(ask_for_runs(Arc::clone(town), (who, dice.hand()), over));
        }
        for who in DECIDERS {
            let over = Arc::clone(&deciders.over);
            deciders
                .people
                .spawn(decide(Arc::clone(town), (who, dice.hand()), over));
        }
        Self { askers, deciders }
    }

    /// What was asked for is insisted on, nothing more is asked for.
    pub async fn stop_asking(&mut self) {
        self.askers.end().await;
    }

    /// Nobody decides any more.
    pub async fn come_home(mut self) {
        self.deciders.end().await;
    }
}

async fn ask_for_runs(town: Arc<Town>, (who, mut dice): (&'static str, Dice), over: Arc<AtomicBool>) {
    let mut number = 0;
    while !over.load(Ordering::Acquire) {
        if town.is_crowded().await {
            clock::sleep(Duration::from_millis(200)).await;
            continue;
        }
        number += 1;
        let key = format!("{who}-{number}");
        let run = insist(&town, (who, &key), (number, &mut dice)).await;
        if dice.once_in(12) {
            cancel(&town, (who, &run), &mut dice).await;
        }
        town.note(|seen| seen.runs.insert(key, run));
    }
}

/// Asks for a run until it is acknowledged.
async fn insist(town: &Town, (who, key): (&str, &str), (number, dice): (u64, &mut Dice)) -> String {
    let body = json!({ "params": { "n": number } });
    let flow = if number % HEAVY == 0 { "storm" } else { "drizzle" };
    let path = format!("/api/v1/flows/{flow}/runs");
    let mut asked = 0;
    loop {
        asked += 1;
        let request = Request {
            path: &path,
            body: Some(&body),
            key: Some(key),
        };
        match town.ask(who, request, dice).await {
            Some((status @ (200 | 201), run)) => {
                if status == 200 {
                    assert!(asked > 1, "{key} was there before it was asked for");
                    town.repeats.fetch_add(1, Ordering::Relaxed);
                }
                return run["id"].as_str().unwrap().to_owned();
            }
            Some(other) => panic!("{key}: {other:?}"),
            None => {}
        }
    }
}

async fn cancel(town: &Town, (who, run): (&str, &str), dice: &mut Dice) {
    let path = format!("/api/v1/runs/{run}/cancel");
    let (body, mut asked) = (json!({}), 0);
    loop {
        asked += 1;
        let request = Request {
            path: &path,
            body: Some(&body),
            key: None,
        };
        match town.ask(who, request, dice).await {
            Some((200, _)) => {
                town.cancelled.fetch_add(1, Ordering::Relaxed);
                return;
            }
            // It was over, or the first of our requests did it and its answer was lost.
            Some((409, _)) => return,
            Some(other) => panic!("cancel {run}, asked {asked} times: {other:?}"),
            None => {}
        }
    }
}

async fn decide(town: Arc<Town>, (who, mut dice): (&'static str, Dice), over: Arc<AtomicBool>) {
    while !over.load(Ordering::Acquire) {
        let inbox = Request {
            path: "/api/v1/approvals?limit=50",
            body: None,
            key: None,
        };
        let Some((_, inbox)) = town.ask(who, inbox, &mut dice).await else {
            continue;
        };
        let asked = inbox["items"].as_array().cloned().unwrap_or_default();
        for approval in &asked {
            say(&town, (who, approval), &mut dice).await;
        }
        clock::sleep(Duration::from_millis(100)).await;
    }
}

/// One word on one approval. Whether it was heard shows at the next look into the inbox.
async fn say(town: &Town, (who, approval): (&str, &Value), dice: &mut Dice) {
    let id = approval["id"].as_str().unwrap();
    let word = if dice.once_in(8) { "reject" } else { "approve" };
    let body = json!({ "decision": word, "comment": "in the storm", "evidence": approval["digest"] });
    let request = Request {
        path: &format!("/api/v1/approvals/{id}/decision"),
        body: Some(&body),
        key: None,
    };
    let Some((status, answer)) = town.ask(who, request, dice).await else {
        return;
    };
    assert!(matches!(status, 200 | 409 | 410 | 412), "{status} {answer}");
    town.note(|seen| {
        *seen.decisions.entry(status).or_default() += 1;
        if status == 200 {
            seen.decided.push((id.to_owned(), word.to_owned()));
        }
    });
}
