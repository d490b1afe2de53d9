//! A storm: real processes, people who ask and decide, and faults by the dice, until the time is over. Then calm, and the reckoning.
//!
//! `make chaos` lets it blow for ten minutes; it is no part of `make test`. The seed of the dice is printed; `TIDEGATE_CHAOS_SEED` repeats
//! the order of faults, if not their effect: real processes keep their own time.

mod dice;
mod fleet;
mod people;
mod reckoning;

use std::sync::Arc;
use std::time::Duration;

use tidegate_engine::clock;

use self::dice::Dice;
use self::fleet::Fleet;
use self::people::{Ashore, Town};

/// What the faults are kept up for, unless `TIDEGATE_CHAOS_SECONDS` says otherwise.
const BLOWS: Duration = Duration::from_secs(30);
/// A storm of this length has time for every kind of fault.
const LONG: Duration = Duration::from_secs(300);
/// After the last fault every run ends within this: leases run out, restarts recover, people decide.
const CALM: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_breaks_every_run_that_was_acknowledged_ends_once() {
    let (blows, mut dice) = (
        told("TIDEGATE_CHAOS_SECONDS"),
        Dice::of(told("TIDEGATE_CHAOS_SEED")),
    );
    let blows = blows.map_or(BLOWS, Duration::from_secs);
    eprintln!(
        "{} s of storm, TIDEGATE_CHAOS_SEED={}",
        blows.as_secs(),
        dice.seed()
    );
    let mut fleet = Fleet::launch().await;
    let town = Arc::new(Town::found(&fleet).await);
    let mut ashore = Ashore::send(&town, &mut dice);

    let began = clock::monotonic();
    let mut restart = Duration::from_millis(dice.between(5_000, 20_000));
    while began.elapsed() < blows {
        clock::sleep(Duration::from_millis(dice.between(1_000, 4_000))).await;
        if began.elapsed() >= restart {
            fleet.restart_postgres(&mut dice).await;
            restart = began.elapsed() + Duration::from_millis(dice.between(5_000, 20_000));
        } else {
            fleet.suffer(&mut dice, blows >= LONG).await;
        }
    }
    fleet.calm().await;
    ashore.stop_asking().await;
    fleet.until_nothing_is_open(CALM).await;
    ashore.come_home().await;
    reckoning::settle(&fleet, &town, blows >= LONG).await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever makes a storm says how long, and which"
)]
fn told(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a whole number, not {text:?}")),
    )
}
