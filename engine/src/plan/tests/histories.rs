//! Random histories of random graphs: maps, conditions, failures that count or do not, gates, parking, retries, cancellation, workers that die,
//! answers that are lost. Ten thousand of them, each from a seed of its own.
//!
//! The rules are looked at after every move (`World::check`); at the end nothing goes wrong any more, and the run has to end.

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};

use super::*;
use crate::id::Epoch;

/// Seeds from which histories are made, where nobody asks for others.
const SEEDS: Range<u64> = 0..10_000;
/// Asks for the history of one seed.
const SEED: &str = "TIDEGATE_SEED";
/// With it: for so many, from that seed on.
const CASES: &str = "TIDEGATE_CASES";

/// One move: what happens, to which of those it may happen to, and what goes wrong with it.
type Move = (u8, usize, u8);

#[derive(Debug, Clone)]
struct History {
    shape: Vec<Vec<bool>>,
    traits: Vec<Traits>,
    attempts: u32,
    moves: Vec<Move>,
    cancel: Option<(usize, Reason)>,
    /// From which task on the run is made again, if it is named, and how that goes.
    again: Option<(Option<usize>, Vec<Move>)>,
}

fn outcome(choice: u8) -> Outcome {
    let until = Timestamp::UNIX_EPOCH;
    match choice % 16 {
        0..=3 => Outcome::Succeeded,
        4 => Outcome::Failed {
            reason: Reason::Error,
            again: true,
        },
        5 => Outcome::Failed {
            reason: Reason::Timeout,
            again: false,
        },
        6 => Outcome::Lost,
        7 | 8 => Outcome::Asked,
        9 => Outcome::Parked {
            reason: Reason::Poll,
            until: Some(until),
        },
        10 => Outcome::Parked {
            reason: Reason::SubRun,
            until: None,
        },
        11 => Outcome::Unneeded,
        12 => Outcome::Cached,
        13 => Outcome::Released,
        14 => Outcome::FailedUntil {
            reason: Reason::Error,
            until,
        },
        _ => Outcome::Rejected {
            reason: Reason::RuleFailed,
        },
    }
}

fn decision(choice: u8) -> Outcome {
    let reason = match choice % 6 {
        0..=2 => return Outcome::Approved,
        3 => return Outcome::ExpiredAsFailure,
        4 => Reason::Declined,
        _ => Reason::Superseded,
    };
    Outcome::Rejected { reason }
}

fn traits() -> impl Strategy<Value = Vec<Traits>> {
    let run_if = prop_oneof![
        4 => Just(RunIf::AllSucceeded),
        1 => Just(RunIf::AllDone),
        1 => Just(RunIf::AnyFailed),
        1 => Just(RunIf::AnySucceeded),
    ];
    let map = prop::option::weighted(0.3, (0u32..6, prop::option::of(1u32..4)));
    let one =
        (run_if, prop::bool::weighted(0.2), map).prop_map(|(run_if, continue_on_failure, map)| Traits {
            run_if,
            continue_on_failure,
            map,
        });
    prop::collection::vec(one, 9)
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    prop::collection::vec((any::<u8>(), any::<usize>(), any::<u8>()), 0..80)
}

fn histories() -> impl Strategy<Value = History> {
    let shape = prop::collection::vec(prop::collection::vec(prop::bool::weighted(0.3), 0..9), 1..9);
    let why = prop_oneof![
        Just(Reason::Requested),
        Just(Reason::Timeout),
        Just(Reason::Overlap)
    ];
    let cancel = prop::option::weighted(0.4, (0usize..60, why));
    let again = prop::option::of((prop::option::of(0usize..9), moves()));
    (shape, traits(), 1u32..4, moves(), cancel, again).prop_map(
        |(shape, traits, attempts, moves, cancel, again)| History {
            shape,
            traits,
            attempts,
            moves,
            cancel,
            again,
        },
    )
}

/// Workers as they see themselves, and those that nobody counts on any more.
#[derive(Default)]
struct Workers {
    zombies: Vec<(TaskIdx, Epoch)>,
    given: BTreeSet<(TaskIdx, Epoch)>,
}

impl Workers {
    fn play(&mut self, world: &mut World, moves: &[Move], cancel: Option<(usize, Reason)>) {
        for (turn, one) in moves.iter().enumerate() {
            if world.run.state.is_terminal() {
                return;
            }
            match cancel {
                Some((at, reason)) if at == turn && world.run.state != RunState::Cancelling => {
                    world.cancel(reason)
                }
                _ => self.turn(world, *one),
            }
            let deaf = |(idx, epoch): &(TaskIdx, Epoch)| !holds(world, *idx, *epoch);
            assert!(self.zombies.iter().all(deaf), "a zombie is heard");
        }
    }

    fn turn(&mut self, world: &mut World, (what, choice, mishap): Move) {
        let may_move = |state: &TaskState| state.is_active() || asks(state);
        let Some(idx) = world.pick(choice, may_move) else {
            return;
        };
        let view = world.tasks[&idx].clone();
        let outcome = match view.state {
            TaskState::Running => self.report(world, (idx, view.epoch), (what, mishap)),
            state if state.comes_due() => Outcome::Claimed,
            state if asks(&state) => decision(what),
            _ => Outcome::Woken,
        };
        let mut news = vec![(idx, outcome)];
        // Reports come together.
        if view.state == TaskState::Running && mishap % 4 == 3 {
            let others = world
                .tasks
                .iter()
                .filter(|(_, view)| view.state == TaskState::Running);
            let others: Vec<TaskIdx> = others
                .map(|(other, _)| *other)
                .filter(|other| *other != idx)
                .collect();
            news.extend(
                others
                    .into_iter()
                    .take(3)
                    .map(|other| (other, world.fitting(other, Outcome::Succeeded))),
            );
        }
        world.advance_all(&news);
        if outcome == Outcome::Claimed {
            let epoch = world.tasks[&idx].epoch;
            assert!(self.given.insert((idx, epoch)), "an epoch was given twice");
        }
        // The answer to a COMMIT was lost, and its sender says the same again.
        let counts_again = match view.state {
            TaskState::Running => holds(world, idx, view.epoch),
            _ => world
                .advanced_on(closure(&world.graph, [idx]), &[(idx, outcome)])
                .is_ok(),
        };
        assert!(!counts_again, "{outcome:?} of task {idx} counts twice");
    }

    /// What becomes of an attempt, or of its worker.
    fn report(&mut self, world: &World, (idx, epoch): (TaskIdx, Epoch), (what, mishap): (u8, u8)) -> Outcome {
        if mishap.is_multiple_of(16) {
            self.zombies.push((idx, epoch));
            return Outcome::Lost;
        }
        if world.run.state == RunState::Cancelling && what.is_multiple_of(2) {
            return Outcome::Stopped;
        }
        world.fitting(idx, outcome(what))
    }
}

/// The fence of the store: such a report counts.
fn holds(world: &World, idx: TaskIdx, epoch: Epoch) -> bool {
    let view = world.tasks.get(&idx);
    view.is_some_and(|view| view.state == TaskState::Running && view.epoch == epoch)
}

/// The run once more, as the store makes it: what was kept is carried over.
fn retried(world: &World, from: Option<usize>) -> Option<World> {
    let graph = &world.graph;
    let from = from.map(|from| (from % graph.size() as usize) as TaskIdx);
    if from.is_none() && world.run.state == RunState::Succeeded {
        return None;
    }
    let heads = world.tasks.iter().filter(|(idx, _)| graph.item(**idx).is_none());
    let ends = heads.map(|(idx, view)| (*idx, view.state)).collect();
    let kept = kept(graph, &ends, from);
    let done = |of: &BTreeSet<TaskIdx>| -> BTreeMap<TaskIdx, Carried> {
        let all = world.tasks.iter().filter(|(idx, view)| {
            of.contains(&graph.head(**idx)) && matches!(view.state, TaskState::Succeeded { .. })
        });
        let carried = |view: &TaskView| Carried {
            epoch: view.epoch,
            attempt: view.attempt,
        };
        all.map(|(idx, view)| (*idx, carried(view))).collect()
    };
    let items = done(&kept.maps);
    Some(World::carrying(graph.clone(), &done(&kept.tasks), items))
}

fn live(history: &History) {
    let mut world = World::new(graph_of(&history.shape, &history.traits, history.attempts));
    Workers::default().play(&mut world, &history.moves, history.cancel);
    finish(&mut world);
    let Some((from, moves)) = &history.again else {
        return;
    };
    let Some(mut again) = retried(&world, *from) else {
        return;
    };
    Workers::default().play(&mut again, moves, None);
    finish(&mut again);
    let carried = again.tasks.iter().filter(|(_, view)| view.state == maps::CARRIED);
    for (idx, _) in carried.filter(|(idx, _)| again.graph.item(**idx).is_none()) {
        assert!(
            again.may_run(*idx),
            "task {idx} was carried over, and would not have run"
        );
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "whoever replays a seed names it in the environment"
)]
fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not `{text}`")),
    )
}

fn seeds() -> Range<u64> {
    match asked(SEED) {
        Some(first) => first..first + asked(CASES).unwrap_or(1),
        None => SEEDS,
    }
}

#[test]
fn every_history_keeps_the_rules_and_can_be_brought_to_an_end() {
    let config = ProptestConfig {
        cases: 1,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let seeds = seeds();
    for seed in seeds.clone() {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(config.clone(), random);
        let lived = runner.run(&histories(), |history| {
            live(&history);
            Ok::<(), TestCaseError>(())
        });
        if let Err(error) = lived {
            panic!(
                "{error}\n\nagain: {SEED}={seed} scripts/cargo nextest run --workspace -E 'test(every_history)'"
            );
        }
    }
    println!("{} histories", seeds.count());
}
