//! What the storm strikes: PostgreSQL behind a proxy, two servers, two workers; and the kinds of faults.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tidegate_engine::clock;
use tidegate_engine::store::Store;
use tidegate_test_fixtures::postgres::{Cluster, Durability};
use tidegate_test_fixtures::process::Process;
use tidegate_test_fixtures::proxy::{Fault, Proxy, Upstream};
use tidegate_test_fixtures::run::free_port;
use tidegate_test_fixtures::tidegate::Tidegate;

use super::dice::Dice;
use crate::house::{SOON, tidegate};

/// Two of each kind: one may always be down.
const PAIR: usize = 2;
/// Longer than a lease: who sleeps so long has lost what it held.
const FROZEN: Duration = Duration::from_secs(40);

/// A run of it: a task that fails at first, two side by side, a person, and an effect that counts.
const FLOW: &str = r#"[flow]
name = "storm"
max_active = 1000
description = "edition 0"

[params.n]
type = "integer"

[tasks.plan]
uses = "command"
with = { argv = ["true"] }

[tasks.left]
uses = "command"
needs = ["plan"]
with = { shell = 'test $((({{ params.n }} + TIDEGATE_ATTEMPT_NUMBER) % 3)) != 0' }
retry = { attempts = 50, delay = "100ms", max_delay = "1s" }

[tasks.right]
uses = "command"
needs = ["plan"]
with = { argv = ["sleep", "0.2"] }
retry = { attempts = 50, delay = "100ms", max_delay = "1s" }

[tasks.ask]
uses = "approval"
needs = ["left", "right"]

[tasks.ask.gate.approval]
when = "always"
by = ["role:approver"]

[tasks.effect]
uses = "command"
needs = ["ask"]
with = { shell = 'echo {{ run.id }} >> EFFECTS' }
retry = { attempts = 50, delay = "100ms", max_delay = "1s" }
"#;

/// The light rain of it, most of the runs: a map, and what needs it, all of it inline.
const DRIZZLE: &str = r#"[flow]
name = "drizzle"
max_active = 1000

[params.n]
type = "integer"

[tasks.begin]
uses = "approval"

[tasks.drops]
uses = "approval"
needs = ["begin"]
for_each = [1, 2, 3, 4, 5, 6]
max_parallel = 4

[tasks.end]
uses = "approval"
needs = ["drops"]
"#;

/// A tick a minute, which both schedulers want to make.
const CLOCKWORK: &str = r#"[flow]
name = "clockwork"
overlap = "allow"
max_active = 100

[[schedule]]
cron = "* * * * *"
missed = "all"

[tasks.tick]
uses = "approval"
"#;

/// A process, where it listens, and since when it is frozen.
struct Ship {
    process: Process,
    bind: Option<String>,
    frozen: Option<Instant>,
}

impl Ship {
    fn new(process: Process, bind: Option<&str>) -> Self {
        Self {
            process,
            bind: bind.map(str::to_owned),
            frozen: None,
        }
    }
}

/// All that is struck.
pub struct Fleet {
    /// A look past the proxy.
    pub store: Store,
    /// Where the pages are.
    pub urls: Vec<String>,
    /// How often each fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    tidegate: Tidegate,
    cluster: Cluster,
    proxy: Proxy,
    binds: Vec<String>,
    servers: Vec<Ship>,
    workers: Vec<Ship>,
    /// Those that were killed: what they said stays to be read.
    wrecks: Vec<Process>,
    edition: u32,
}

impl Fleet {
    pub async fn launch() -> Self {
        let cluster = Cluster::start_with(Durability::Synced);
        let proxy = Proxy::start(Upstream::Socket(cluster.socket()));
        let url = format!(
            "postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable",
            proxy.port()
        );
        let tidegate = tidegate()
            .env("DATABASE_URL", url)
            .env("RUST_LOG", "info,tidegate_engine::store::ticks=debug");
        let binds: Vec<String> = (0..PAIR).map(|_| format!("127.0.0.1:{}", free_port())).collect();
        let mut first = tidegate.spawn(&["server", "--bind", &binds[0]]);
        first.wait_for_line("server is up", SOON);
        let first = Ship::new(first, Some(&binds[0]));
        let mut fleet = Self {
            store: Store::connect(&cluster.url("postgres"), 6).await.unwrap(),
            urls: binds.iter().map(|bind| format!("http://{bind}")).collect(),
            faults: BTreeMap::new(),
            tidegate,
            cluster,
            proxy,
            servers: vec![first],
            workers: Vec::new(),
            wrecks: Vec::new(),
            edition: 0,
            binds,
        };
        fleet.write_flows();
        let applied = fleet
            .tidegate
            .run(&["apply", fleet.tidegate.home().to_str().unwrap()]);
        assert_eq!(applied.code(), 0, "{applied:?}");
        fleet.man();
        fleet
    }

    fn write_flows(&self) {
        let effects = self.tidegate.home().join("effects");
        let storm = FLOW
            .replace("EFFECTS", effects.to_str().unwrap())
            .replace("edition 0", &format!("edition {}", self.edition));
        fs::write(self.tidegate.home().join("storm.toml"), storm).unwrap();
        fs::write(self.tidegate.home().join("drizzle.toml"), DRIZZLE).unwrap();
        fs::write(self.tidegate.home().join("clockwork.toml"), CLOCKWORK).unwrap();
    }

    /// The ids of the runs whose last task did its work, as often as it did.
    pub fn effects(&self) -> Vec<String> {
        let text = fs::read_to_string(self.tidegate.home().join("effects")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What all processes said, the dead ones too.
    pub fn output(&self) -> String {
        let afloat = self.servers.iter().chain(&self.workers).map(|ship| &ship.process);
        afloat.chain(&self.wrecks).map(Process::output).collect()
    }

    /// Starts what is missing. They come up by themselves once the database is there.
    fn man(&mut self) {
        for bind in self.binds.clone() {
            if self.servers.iter().all(|ship| ship.bind.as_ref() != Some(&bind)) {
                let process = self.tidegate.spawn(&["server", "--bind", &bind]);
                self.servers.push(Ship::new(process, Some(&bind)));
            }
        }
        while self.workers.len() < PAIR {
            let process = self.tidegate.spawn(&["worker", "--slots", "8"]);
            self.workers.push(Ship::new(process, None));
        }
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// One more fault, beside those of PostgreSQL itself.
    pub async fn suffer(&mut self, dice: &mut Dice, long: bool) {
        self.thaw(FROZEN);
        self.mend();
        match dice.between(0, if long { 11 } else { 10 }) {
            0 | 1 => self.sink_a_worker(dice),
            2 | 3 => self.sink_a_server(dice),
            4 => {
                self.proxy.cut();
                self.count("connections cut");
            }
            5 => {
                self.proxy.stall();
                clock::sleep(Duration::from_millis(dice.between(500, 4_000))).await;
                self.proxy.resume();
                self.count("database stalled");
            }
            6 | 7 => {
                let skip = dice.between(0, 5) as usize;
                self.proxy.when("COMMIT", skip, Fault::LoseReply { after: 0 });
                self.count("replies of COMMIT to be swallowed");
            }
            8 => self.drain_a_worker(dice),
            9 => self.redeploy(),
            _ => self.freeze_a_worker(dice),
        }
    }

    /// Whatever ended by itself is started anew; a process that gave up is worth knowing.
    fn mend(&mut self) {
        for ships in [&mut self.servers, &mut self.workers] {
            for at in (0..ships.len()).rev() {
                if !ships[at].process.is_running() {
                    let wreck = ships.remove(at).process;
                    eprintln!("ended by itself:\n{}", wreck.output());
                    self.wrecks.push(wreck);
                    *self.faults.entry("processes that gave up").or_default() += 1;
                }
            }
        }
        self.man();
    }

    fn sink_a_worker(&mut self, dice: &mut Dice) {
        let mut ship = self.workers.remove(dice.between(0, PAIR as u64) as usize);
        ship.process.kill();
        self.wrecks.push(ship.process);
        self.count("workers killed");
        self.man();
    }

    /// Its successor takes its address.
    fn sink_a_server(&mut self, dice: &mut Dice) {
        let mut ship = self.servers.remove(dice.between(0, PAIR as u64) as usize);
        ship.process.kill();
        self.wrecks.push(ship.process);
        self.count("servers killed");
        self.man();
    }

    /// Down in any of the three ways, for up to five seconds.
    pub async fn restart_postgres(&mut self, dice: &mut Dice) {
        match dice.between(0, 3) {
            0 => self.cluster.stop(),
            1 => self.cluster.stop_immediately(),
            _ => self.cluster.kill(),
        }
        clock::sleep(Duration::from_millis(dice.between(0, 5_000))).await;
        self.cluster.start_again();
        self.count("restarts of PostgreSQL");
    }

    fn drain_a_worker(&mut self, dice: &mut Dice) {
        let ship = self.workers.remove(dice.between(0, PAIR as u64) as usize);
        ship.process.signal(Signal::TERM);
        // It ends in its own time, beside its successor.
        self.wrecks.push(ship.process);
        self.count("workers drained");
        self.man();
    }

    fn redeploy(&mut self) {
        self.edition += 1;
        self.write_flows();
        let place = self.tidegate.home().join("storm.toml");
        let applied = self.tidegate.run(&["apply", place.to_str().unwrap()]);
        assert!(matches!(applied.code(), 0 | 5), "{applied:?}");
        self.count("redeploys");
    }

    fn freeze_a_worker(&mut self, dice: &mut Dice) {
        let at = dice.between(0, PAIR as u64) as usize;
        if self.workers[at].frozen.is_none() {
            self.workers[at].process.signal(Signal::STOP);
            self.workers[at].frozen = Some(clock::monotonic());
            self.count("workers frozen past their lease");
        }
    }

    /// Wakes who has slept that long.
    fn thaw(&mut self, slept: Duration) {
        for ship in &mut self.workers {
            if ship.frozen.is_some_and(|since| since.elapsed() >= slept) {
                ship.process.signal(Signal::CONT);
                ship.frozen = None;
            }
        }
    }

    /// No more faults: everybody is up and awake.
    pub async fn calm(&mut self) {
        self.proxy.resume();
        clock::sleep(Duration::from_secs(1)).await;
        self.thaw(Duration::ZERO);
        self.mend();
        let ready = |url: &String| format!("{url}/readyz");
        for place in self.urls.iter().map(ready) {
            let began = clock::monotonic();
            while !reqwest::get(&place)
                .await
                .is_ok_and(|answer| answer.status().is_success())
            {
                assert!(began.elapsed() < SOON, "{place} is not ready\n{}", self.output());
                clock::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// How many replies of COMMIT were swallowed: each of them had happened.
    pub fn swallowed(&self) -> u64 {
        self.proxy.struck() as u64
    }

    /// Waits until every run is over.
    pub async fn until_nothing_is_open(&mut self, limit: Duration) {
        let began = clock::monotonic();
        loop {
            self.mend();
            let open: i64 = sqlx::query_scalar("select count(*) from active_run")
                .fetch_one(self.store.pool())
                .await
                .unwrap();
            if open == 0 {
                return;
            }
            assert!(
                began.elapsed() < limit,
                "{open} runs are still open after {limit:?}\n{}",
                tail(&self.output())
            );
            clock::sleep(Duration::from_millis(250)).await;
        }
    }

    pub async fn verify_ledger(&self) {
        let verified = self.tidegate.run(&["ledger", "verify"]);
        assert_eq!(verified.code(), 0, "{verified:?}");
    }
}

/// The end of a text that may be very long.
fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(20_000);
    let from = (from..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    &text[from..]
}
