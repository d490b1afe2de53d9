//! The worker: claims task runs, runs their plugins, keeps their leases, reports what became of them.
//!
//! ```text
//! claim loop ──► attempt (inline, or a child process) ──► finisher ──► one transaction for all that ended meanwhile
//!     ▲             ▲                                         │ hands over the next task of the run
//!     └─ wake       ├──── scribe: logs, metrics, progress
//!                   └──── heart: renews all leases; what is lost, told to stop, or past its margin is ended
//! ```
//!
//! A worker that cannot renew by lease − margin, on its own monotonic clock, ends its attempts before the lease does: nobody else
//! runs a task while its old attempt still lives. One that is killed has a guard, which ends what it ran.

mod attempt;
mod before;
mod cache;
mod child;
mod finisher;
mod folders;
mod freeze;
mod gate;
pub mod guard;
mod heart;
mod host;
pub mod inside;
mod leftovers;
pub mod lived;
mod pipe;
mod scope;
mod scribe;
mod tree;
mod vault;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::guard::Guard;
use self::scribe::Scribe;
use crate::clock;
use crate::id::{Epoch, RunId, TaskIdx};
use crate::mask::Mask;
use crate::plugin::{Deployment, Isolation, Registry};
use crate::secrets::KeySource;
use crate::store::advance::Report;
use crate::store::claim::{Claim, Claimer, Crowded};
use crate::store::surroundings::{Known, Outputs, RunFacts, Surroundings};
use crate::store::workers::NewWorker;
use crate::store::{Store, StoreError};

/// Inline attempts at once, beside those that hold a slot.
const LIGHT: usize = 512;
/// As many of them make a crowd.
const CROWD: usize = 128;
/// How long is waited for more of a crowd to end, so that they are reported and followed together.
const GATHER: Duration = Duration::from_millis(2);

/// How a worker is set up.
#[derive(Clone)]
pub struct WorkerConfig {
    /// Name for people.
    pub name: String,
    /// Queues it serves.
    pub queues: Vec<String>,
    /// Attempts in processes at once. Inline ones take no slot: a worker runs up to 512 of them beside.
    pub slots: u32,
    /// Folder for work, checkpoints and artifacts.
    pub home: PathBuf,
    /// Variables that plugins may see.
    pub env: Arc<BTreeMap<String, String>>,
    /// What plugins are allowed.
    pub deployment: Deployment,
    /// Program (and arguments) that runs one attempt in a child process: this binary with its hidden verb.
    pub child: Vec<String>,
    /// Program (and arguments) that ends what a killed worker left running: this binary with another hidden verb.
    pub guard: Vec<String>,
    /// Where the key of the secrets is.
    pub secret_key: KeySource,
    /// How long running attempts may take to end when the worker is told to stop.
    pub drain: Duration,
}

/// Why an attempt was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Somebody cancelled the run.
    Requested,
    /// It took longer than its `timeout`.
    Timeout,
    /// Its lease is gone: whatever it does no longer counts.
    Fenced,
    /// The worker is told to stop.
    Drained,
}

/// An attempt that runs here.
struct Running {
    epoch: Epoch,
    isolation: Isolation,
    facts: Option<Arc<RunFacts>>,
    stop: StopSwitch,
}

/// Tells an attempt to stop, once, with the first reason.
#[derive(Clone, Default)]
struct StopSwitch {
    token: CancellationToken,
    /// Its lease is gone, whatever it was told before.
    fenced: CancellationToken,
    why: Arc<Mutex<Option<Stop>>>,
}

impl StopSwitch {
    fn pull(&self, why: Stop) {
        lock(&self.why).get_or_insert(why);
        if why == Stop::Fenced {
            self.fenced.cancel();
        }
        self.token.cancel();
    }

    fn why(&self) -> Option<Stop> {
        if self.fenced.is_cancelled() {
            Some(Stop::Fenced)
        } else {
            *lock(&self.why)
        }
    }
}

/// The guarded value, whatever happened to an earlier holder: all our sections are single assignments.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many attempts may begin.
#[derive(Debug, Clone, Copy, Default)]
struct Room {
    slots: usize,
    light: usize,
}

/// Whether the last look at what is ready was cut short for lack of room: only then an end of an attempt is a reason to look again.
#[derive(Debug, Default)]
struct Full {
    slots: AtomicBool,
    light: AtomicBool,
}

impl Full {
    fn set(&self, slots: bool, light: bool) {
        self.slots.store(slots, Ordering::SeqCst);
        self.light.store(light, Ordering::SeqCst);
    }

    /// Whether such room was waited for.
    fn waits_for(&self, room: Room) -> bool {
        (room.slots > 0 && self.slots.load(Ordering::SeqCst))
            || (room.light > 0 && self.light.load(Ordering::SeqCst))
    }
}

/// What all parts of a worker share.
struct Shared {
    id: Uuid,
    config: WorkerConfig,
    store: Store,
    scribe: Arc<Scribe>,
    guard: Guard,
    registry: Registry,
    /// Hides the credentials that all plugins see.
    mask: Mask,
    wake: Arc<Notify>,
    running: Mutex<BTreeMap<(RunId, TaskIdx), Running>>,
    /// Claimed, and not running yet.
    beginning: Mutex<BTreeSet<(RunId, TaskIdx, Epoch)>>,
    draining: AtomicBool,
    full: Full,
    reports: mpsc::UnboundedSender<Report>,
}

/// Runs a worker until `stop`, then drains it. `wake` is rung when something may have become ready.
pub async fn run(
    config: WorkerConfig,
    (store, registry): (Store, Registry),
    wake: Arc<Notify>,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let (reports, inbox) = mpsc::unbounded_channel();
    let id = clock::new_id();
    let shared = Arc::new(Shared {
        id,
        mask: vault::mask_of(&config.env),
        guard: Guard::start(config.guard.clone()),
        config,
        store,
        scribe: Arc::default(),
        registry,
        wake,
        running: Mutex::default(),
        beginning: Mutex::default(),
        draining: AtomicBool::new(false),
        full: Full::default(),
        reports,
    });
    shared.store.enroll_worker(&shared.introduction()).await?;
    let over = CancellationToken::new();
    let heart = tokio::spawn(heart::beat(Arc::clone(&shared), over.clone()));
    let finisher = tokio::spawn(finisher::collect(Arc::clone(&shared), inbox, over.clone()));
    leftovers::tidy(&shared.store, &shared.config.home).await;
    let keeper = tokio::spawn(leftovers::keep(Arc::clone(&shared), over.clone()));
    let writer = scribe::write(Arc::clone(&shared.scribe), shared.store.clone(), over.clone());
    let writer = tokio::spawn(writer);
    let mut round = watch::Round::default();
    while !stop.is_cancelled() {
        if let Err(error) = claim_round(&shared).await {
            tracing::warn!(
                error = crate::plugin::chain(&error),
                "claiming failed; trying again"
            );
        }
        round.wait(&shared, &stop).await;
    }
    drain(&shared).await;
    over.cancel();
    let _ = tokio::join!(heart, finisher, writer, keeper);
    shared.store.dismiss_worker(id).await
}

/// Claims until there is no room or nothing left to claim.
async fn claim_round(shared: &Arc<Shared>) -> Result<(), StoreError> {
    loop {
        // Said before the room is measured: who makes room meanwhile is either seen here, or sees this and rings.
        shared.full.set(true, true);
        let claimer = shared.claimer(shared.room());
        let (slots, light) = (claimer.slots, claimer.light);
        if slots + light == 0 {
            return Ok(());
        }
        let claims = shared.store.claim(claimer, clock::now()).await?;
        let inline = claims.iter().filter(|claim| claim.is_light()).count();
        let processes = claims.len() - inline;
        shared.begin_all(claims, Outputs::new()).await;
        // As much was claimed as there was room for: there may be more.
        let again = (slots > 0 && processes == slots) || (light > 0 && inline == light);
        if !again {
            shared.full.set(processes == slots, inline == light);
            return Ok(());
        }
    }
}

/// Lets attempts end by themselves for a while, then stops them; what they held is given back.
async fn drain(shared: &Arc<Shared>) {
    // From here on no task is handed over: what is given back must not come back.
    shared.draining.store(true, Ordering::Release);
    if let Err(error) = shared.store.note_draining(shared.id).await {
        tracing::debug!(%error, "nobody is told that this worker drains");
    }
    let patience = clock::monotonic() + shared.config.drain;
    while clock::monotonic() < patience && !lock(&shared.running).is_empty() {
        clock::sleep(Duration::from_millis(50)).await;
    }
    lock(&shared.running)
        .values()
        .for_each(|attempt| attempt.stop.pull(Stop::Drained));
    let limit = clock::monotonic() + crate::store::leases::GRACE + Duration::from_secs(2);
    while clock::monotonic() < limit && !lock(&shared.running).is_empty() {
        clock::sleep(Duration::from_millis(50)).await;
    }
}

impl Shared {
    fn introduction(&self) -> NewWorker {
        NewWorker {
            id: self.id,
            name: self.config.name.clone(),
            queues: self.config.queues.clone(),
            slots: self.config.slots,
        }
    }

    /// Free slots, and how many light attempts may join those that run.
    fn room(&self) -> Room {
        let mut room = Room {
            slots: self.config.slots as usize,
            light: LIGHT,
        };
        for attempt in lock(&self.running).values() {
            let left = match attempt.isolation {
                Isolation::Inline => &mut room.light,
                Isolation::Process | Isolation::Program => &mut room.slots,
            };
            *left = left.saturating_sub(1);
        }
        room
    }

    fn light_under_way(&self) -> usize {
        LIGHT.saturating_sub(self.room().light)
    }

    fn claimer(&self, Room { slots, light }: Room) -> Claimer {
        let all = self.room();
        Claimer {
            worker: self.id,
            queues: self.config.queues.clone(),
            slots,
            light,
            crowded: Crowded {
                slots: all.slots == 0,
                light: all.light == 0,
                cut_short: false,
            },
        }
    }

    /// Runs claimed attempts, each in a task of its own. `outputs`: what was reported a moment ago.
    async fn begin_all(self: &Arc<Self>, claims: Vec<Claim>, outputs: Outputs) {
        let keys: Vec<_> = claims
            .iter()
            .map(|claim| (claim.run, claim.idx, claim.epoch))
            .collect();
        lock(&self.beginning).extend(keys.iter().copied());
        let known = Known {
            facts: self.facts_of(&claims),
            outputs,
        };
        // Where they cannot be had, each attempt asks for its own, and says so when it cannot have them either.
        let around = self.store.surroundings_of(&claims, known).await;
        let mut around = around.unwrap_or_default();
        for claim in claims {
            let around = around.remove(&claim.holder());
            self.begin(claim, around);
        }
        let mut beginning = lock(&self.beginning);
        for key in &keys {
            beginning.remove(key);
        }
    }

    /// What attempts that run here know of these runs.
    fn facts_of(&self, claims: &[Claim]) -> BTreeMap<RunId, Arc<RunFacts>> {
        let runs: BTreeSet<RunId> = claims.iter().map(|claim| claim.run).collect();
        let running = lock(&self.running);
        let known = runs.into_iter().filter_map(|run| {
            let mut beside = running.range((run, TaskIdx::MIN)..=(run, TaskIdx::MAX));
            let facts = beside.find_map(|(_, attempt)| attempt.facts.clone())?;
            Some((run, facts))
        });
        known.collect()
    }

    fn begin(self: &Arc<Self>, claim: Claim, around: Option<Surroundings>) {
        let stop = StopSwitch::default();
        let running = Running {
            epoch: claim.epoch,
            isolation: claim.task().isolation,
            facts: around.as_ref().map(|around| Arc::clone(&around.facts)),
            stop: stop.clone(),
        };
        let before = lock(&self.running).insert((claim.run, claim.idx), running);
        // Lost and claimed again before the heart noticed.
        if let Some(older) = before {
            older.stop.pull(Stop::Fenced);
        }
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let key = (claim.run, claim.idx, claim.epoch);
            match attempt::run(&shared, (claim, around), &stop).await {
                Some(report) => drop(shared.reports.send(report)),
                None => shared.forget(key),
            }
        });
    }

    /// Frees the slot of an attempt.
    fn forget(&self, (run, idx, epoch): (RunId, TaskIdx, Epoch)) {
        let mut running = lock(&self.running);
        if running
            .get(&(run, idx))
            .is_some_and(|attempt| attempt.epoch == epoch)
        {
            running.remove(&(run, idx));
        }
    }
}

#[cfg(test)]
mod tests;
