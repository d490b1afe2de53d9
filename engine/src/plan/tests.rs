//! Properties of the planner over random graphs, outcomes and cancellations.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::*;
use crate::graph::{OnWorkerLost, Task};
use crate::id::TaskName;
use crate::plugin::Isolation;
use crate::retry::RetryPolicy;

fn graph(shape: &[Vec<bool>], attempts: u32) -> Graph {
    let tasks = shape.iter().enumerate().map(|(i, edges)| Task {
        name: TaskName::new(format!("t{i}")).unwrap(),
        uses: "noop".to_owned(),
        description: None,
        with: serde_json::json!({}),
        needs: (0..i as TaskIdx)
            .filter(|&n| edges.get(n as usize).copied().unwrap_or(false))
            .collect(),
        retry: RetryPolicy {
            attempts,
            ..RetryPolicy::default()
        },
        timeout: None,
        gate: None,
        env: BTreeMap::new(),
        on_worker_lost: OnWorkerLost::Retry,
        isolation: Isolation::Inline,
        files: Vec::new(),
    });
    Graph::new(tasks.collect()).unwrap()
}

struct World {
    graph: Graph,
    run: RunView,
    tasks: BTreeMap<TaskIdx, TaskView>,
}

impl World {
    fn new(graph: Graph) -> Self {
        let (run, tasks, _) = create(&graph, &BTreeSet::new());
        let mut world = Self { graph, run, tasks };
        start(world.slice()).unwrap();
        world
    }

    fn slice(&mut self) -> Slice<'_> {
        Slice {
            graph: &self.graph,
            run: &mut self.run,
            tasks: &mut self.tasks,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    /// Advances on the small slice first, as the store does, and checks that it equals planning on everything.
    fn advance(&mut self, idx: TaskIdx, outcome: Outcome) {
        let mut small = self.tasks.clone();
        let keep = frontier(&self.graph, [idx]);
        small.retain(|idx, _| keep.contains(idx));
        let mut run = self.run.clone();
        let slice = Slice {
            graph: &self.graph,
            run: &mut run,
            tasks: &mut small,
            now: Timestamp::UNIX_EPOCH,
        };
        let partial = advance(slice, &[(idx, outcome)], &mut || 0.5);
        let whole = advance(self.slice(), &[(idx, outcome)], &mut || 0.5).unwrap();
        match partial {
            Ok(plan) => {
                assert_eq!(plan, whole);
                assert_eq!(run, self.run);
            }
            Err(PlanError::Beyond(_)) => {}
            Err(other) => panic!("{other}"),
        }
        self.check();
    }

    fn check(&self) {
        let open = self.tasks.values().filter(|t| !t.state.is_terminal()).count();
        let active = self.tasks.values().filter(|t| t.state.is_active()).count();
        assert_eq!((self.run.open as usize, self.run.active as usize), (open, active));
        assert_eq!(
            self.run.state.is_terminal(),
            open == 0,
            "a run is over exactly when its task runs are"
        );
        for (idx, task) in &self.tasks {
            let needs = &self.graph.task(*idx).needs;
            let done = |n: &TaskIdx| matches!(self.tasks[n].state, TaskState::Succeeded { .. });
            if matches!(
                task.state,
                TaskState::Ready | TaskState::Running | TaskState::Succeeded { .. }
            ) {
                assert!(needs.iter().all(done), "task {idx} went before its needs");
            }
            assert!(task.attempt.saturating_sub(task.lost) <= self.graph.task(*idx).retry.attempts);
        }
    }

    fn pick(&self, choice: usize, wanted: fn(&TaskState) -> bool) -> Option<TaskIdx> {
        let fit: Vec<TaskIdx> = self
            .tasks
            .iter()
            .filter(|(_, t)| wanted(&t.state))
            .map(|(i, _)| *i)
            .collect();
        (!fit.is_empty()).then(|| fit[choice % fit.len()])
    }
}

fn outcome(choice: u8) -> Outcome {
    match choice % 10 {
        0..=2 => Outcome::Succeeded,
        3 => Outcome::Failed {
            reason: Reason::Error,
            again: true,
        },
        4 => Outcome::Failed {
            reason: Reason::Timeout,
            again: false,
        },
        5 => Outcome::Lost,
        6 => Outcome::Asked,
        7 => Outcome::Parked {
            reason: Reason::Poll,
            until: None,
        },
        8 => Outcome::Parked {
            reason: Reason::SubRun,
            until: None,
        },
        _ => Outcome::Rejected {
            reason: Reason::RuleFailed,
        },
    }
}

fn shapes() -> impl Strategy<Value = Vec<Vec<bool>>> {
    prop::collection::vec(prop::collection::vec(prop::bool::weighted(0.3), 0..9), 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_rules_and_can_be_brought_to_an_end(
        shape in shapes(),
        attempts in 1u32..4,
        moves in prop::collection::vec((any::<u8>(), any::<usize>()), 0..60),
        cancel_at in prop::option::of(0usize..60),
    ) {
        let mut world = World::new(graph(&shape, attempts));
        for (turn, (what, choice)) in moves.into_iter().enumerate() {
            if world.run.state.is_terminal() {
                break;
            }
            if cancel_at == Some(turn) && world.run.state != RunState::Cancelling {
                cancel(world.slice(), Reason::Requested).unwrap();
                world.check();
                continue;
            }
            if let Some(idx) = world.pick(choice, |s| *s == TaskState::Running) {
                world.advance(idx, outcome(what));
            } else if let Some(idx) = world.pick(choice, |s| s.comes_due()) {
                world.advance(idx, Outcome::Claimed);
            } else if let Some(idx) = world.pick(choice, |s| s.is_parked()) {
                world.advance(idx, Outcome::Woken);
            } else if let Some(idx) = world.pick(choice, asks) {
                world.advance(idx, if what % 2 == 0 { Outcome::Approved } else { Outcome::Rejected { reason: Reason::Declined } });
            }
        }
        finish(&mut world);
        prop_assert!(world.run.state.is_terminal());
    }
}

fn asks(state: &TaskState) -> bool {
    matches!(state, TaskState::Waiting { .. }) && !state.is_parked()
}

/// Lets everything that is left succeed.
fn finish(world: &mut World) {
    for _ in 0..200 {
        if let Some(idx) = world.pick(0, |s| *s == TaskState::Running) {
            world.advance(idx, Outcome::Succeeded);
        } else if let Some(idx) = world.pick(0, |s| s.comes_due()) {
            world.advance(idx, Outcome::Claimed);
        } else if let Some(idx) = world.pick(0, |s| s.is_parked()) {
            world.advance(idx, Outcome::Woken);
        } else if let Some(idx) = world.pick(0, asks) {
            world.advance(idx, Outcome::Approved);
        }
    }
}

#[test]
fn a_run_waits_when_nothing_moves_by_itself_and_goes_on_after_the_decision() {
    let mut world = World::new(graph(&[vec![], vec![true]], 1));
    world.advance(0, Outcome::Claimed);
    world.advance(0, Outcome::Asked);
    assert_eq!(world.run.state, RunState::Waiting);
    assert_eq!(world.tasks[&0].attempt, 0, "being asked is not an attempt");
    world.advance(0, Outcome::Approved);
    assert_eq!(world.run.state, RunState::Running);
    finish(&mut world);
    assert_eq!(world.run.state, RunState::Succeeded);
}

#[test]
fn a_run_whose_tasks_are_parked_is_running_and_a_wake_makes_one_ready() {
    let mut world = World::new(graph(&[vec![]], 1));
    world.advance(0, Outcome::Claimed);
    let parked = |reason| Outcome::Parked { reason, until: None };
    world.advance(0, parked(Reason::SubRun));
    assert_eq!(world.run.state, RunState::Running);
    assert!(!world.tasks[&0].state.comes_due());
    world.advance(0, Outcome::Woken);
    assert_eq!(world.tasks[&0].state, TaskState::Ready);
    finish(&mut world);
    assert_eq!(world.run.state, RunState::Succeeded);
}

#[test]
fn a_rejected_gate_ends_the_run_rejected_and_skips_what_stands_on_it() {
    let mut world = World::new(graph(&[vec![], vec![true], vec![false, true]], 1));
    world.advance(0, Outcome::Claimed);
    world.advance(
        0,
        Outcome::Rejected {
            reason: Reason::RuleFailed,
        },
    );
    assert_eq!(world.run.state, RunState::Rejected);
    assert_eq!(
        world.tasks[&2].state,
        TaskState::Skipped {
            reason: Reason::UpstreamRejected
        }
    );
}
