//! The planner by itself: a world of one run that is looked at after every move, and what it comes to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod histories;

use super::*;
use crate::graph::{OnWorkerLost, RunIf, Task};
use crate::id::TaskName;
use crate::plugin::Isolation;
use crate::retry::RetryPolicy;

/// What is drawn of a task beside its needs.
#[derive(Debug, Clone, Copy, Default)]
struct Traits {
    run_if: RunIf,
    continue_on_failure: bool,
    /// Items of its list, and how many may be under way at once.
    map: Option<(u32, Option<u32>)>,
}

/// A plan on a part of the task runs, and what it made of them.
#[derive(Debug)]
struct Little {
    plan: Plan,
    run: RunView,
    tasks: BTreeMap<TaskIdx, TaskView>,
    maps: BTreeMap<TaskIdx, MapView>,
}

fn graph(shape: &[Vec<bool>], attempts: u32) -> Graph {
    graph_of(shape, &[], attempts)
}

fn graph_of(shape: &[Vec<bool>], traits: &[Traits], attempts: u32) -> Graph {
    let traits = |i: usize| traits.get(i).copied().unwrap_or_default();
    let tasks = shape.iter().enumerate().map(|(i, edges)| Task {
        name: TaskName::new(format!("t{i}")).unwrap(),
        uses: "noop".to_owned(),
        description: None,
        with: serde_json::json!({}),
        needs: (0..i as TaskIdx)
            .filter(|&n| edges.get(n as usize).copied().unwrap_or(false))
            .collect(),
        when: None,
        for_each: traits(i)
            .map
            .map(|(items, _)| serde_json::json!(vec![0; items as usize])),
        max_parallel: traits(i).map.and_then(|(_, at_once)| at_once),
        run_if: traits(i).run_if,
        continue_on_failure: traits(i).continue_on_failure,
        retry: RetryPolicy {
            attempts,
            ..RetryPolicy::default()
        },
        timeout: None,
        gate: None,
        env: BTreeMap::new(),
        on_worker_lost: OnWorkerLost::Retry,
        placement: crate::graph::Placement::default(),
        cache: None,
        isolation: Isolation::Inline,
        files: Vec::new(),
    });
    Graph::new(tasks.collect()).unwrap()
}

struct World {
    graph: Graph,
    run: RunView,
    tasks: BTreeMap<TaskIdx, TaskView>,
    maps: BTreeMap<TaskIdx, MapView>,
    carried: CarriedItems,
    told: Told,
}

/// States as the events tell them, by the words that are stored.
struct Told {
    run: RunState,
    tasks: BTreeMap<TaskIdx, TaskState>,
}

impl Told {
    fn take(&mut self, plan: &Plan) {
        for step in &plan.steps {
            let (word, reason) = (step.event.as_str(), step.event.reason().map(Reason::as_str));
            let state = self.tasks.entry(step.idx).or_insert(TaskState::Blocked);
            *state = state.apply(TaskEvent::parse(word, reason).unwrap()).unwrap();
        }
        for event in &plan.run_events {
            let event = RunEvent::parse(event.as_str()).unwrap();
            self.run = self.run.apply(event).unwrap();
        }
    }
}

impl World {
    fn new(graph: Graph) -> Self {
        Self::carrying(graph, &BTreeMap::new(), CarriedItems::new())
    }

    /// A run that takes `tasks` over from another, and `items` of maps when they expand.
    fn carrying(graph: Graph, tasks: &BTreeMap<TaskIdx, Carried>, items: CarriedItems) -> Self {
        let (run, mut views, plan) = create(&graph, &tasks.keys().copied().collect());
        for (idx, carried) in tasks {
            let view = views.get_mut(idx).unwrap();
            (view.epoch, view.attempt) = (carried.epoch, carried.attempt);
        }
        let mut world = Self {
            graph,
            run,
            tasks: views,
            maps: BTreeMap::new(),
            carried: items,
            told: Told {
                run: RunState::Queued,
                tasks: BTreeMap::new(),
            },
        };
        world.told.take(&plan);
        let plan = start(world.slice()).unwrap();
        world.told.take(&plan);
        world.check();
        world
    }

    fn slice(&mut self) -> Slice<'_> {
        Slice {
            graph: &self.graph,
            run: &mut self.run,
            tasks: &mut self.tasks,
            maps: &mut self.maps,
            carried: &self.carried,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn advance(&mut self, idx: TaskIdx, outcome: Outcome) -> Plan {
        self.advance_all(&[(idx, outcome)])
    }

    /// Advances on the small slice first, as the store does, on the larger one where that is too small, and checks that it equals planning on
    /// everything.
    fn advance_all(&mut self, news: &[(TaskIdx, Outcome)]) -> Plan {
        let touched = || news.iter().map(|(idx, _)| *idx);
        let mut on_little = self.advanced_on(frontier(&self.graph, touched()), news);
        if matches!(on_little, Err(PlanError::Beyond(_))) {
            on_little = self.advanced_on(closure(&self.graph, touched()), news);
        }
        let little = on_little.unwrap();
        let whole = advance(self.slice(), news, &mut || 0.5).unwrap();
        assert_eq!(little.plan, whole);
        assert_eq!((&little.run, &little.maps), (&self.run, &self.maps));
        assert!(little.tasks.iter().all(|(idx, view)| self.tasks[idx] == *view));
        self.told.take(&whole);
        self.check();
        whole
    }

    /// What follows on a part of the task runs; nothing changes here.
    fn advanced_on(
        &self,
        mut keep: BTreeSet<TaskIdx>,
        news: &[(TaskIdx, Outcome)],
    ) -> Result<Little, PlanError> {
        keep.extend(self.next_items(news));
        let some = keep
            .iter()
            .filter_map(|idx| Some((*idx, self.tasks.get(idx)?.clone())));
        let mut little = Little {
            plan: Plan::default(),
            run: self.run.clone(),
            tasks: some.collect(),
            maps: self.maps.clone(),
        };
        let slice = Slice {
            graph: &self.graph,
            run: &mut little.run,
            tasks: &mut little.tasks,
            maps: &mut little.maps,
            carried: &self.carried,
            now: Timestamp::UNIX_EPOCH,
        };
        little.plan = advance(slice, news, &mut || 0.5)?;
        Ok(little)
    }

    fn cancel(&mut self, reason: Reason) {
        let plan = cancel(self.slice(), reason).unwrap();
        self.told.take(&plan);
        self.check();
    }

    /// The items that the ends of others let go, as the store would load them: one for each.
    fn next_items(&self, news: &[(TaskIdx, Outcome)]) -> Vec<TaskIdx> {
        let graph = &self.graph;
        let mut ends: BTreeMap<TaskIdx, usize> = BTreeMap::new();
        for (idx, outcome) in news {
            let limited = graph.item(*idx).is_some() && graph.task(*idx).max_parallel.is_some();
            if limited && *outcome != Outcome::Claimed {
                *ends.entry(graph.head(*idx)).or_default() += 1;
            }
        }
        let next = ends.into_iter().flat_map(|(head, count)| {
            let cursor = self.maps.get(&head).map_or(0, |map| map.cursor);
            let from = self.tasks.range(graph.item_at(head, cursor)..);
            let blocked = move |(idx, view): &(&TaskIdx, &TaskView)| {
                graph.head(**idx) == head && view.state == TaskState::Blocked
            };
            from.filter(blocked).map(|(idx, _)| *idx).take(count)
        });
        next.collect()
    }

    /// What a map promises, at every moment.
    fn check_map(&self, head: TaskIdx) {
        let view = &self.tasks[&head];
        let all: Vec<TaskState> = self
            .tasks
            .iter()
            .filter(|(idx, _)| self.graph.item(**idx).is_some() && self.graph.head(**idx) == head)
            .map(|(_, view)| view.state)
            .collect();
        let open = all.iter().filter(|state| !state.is_terminal()).count();
        let blocked = all.iter().filter(|state| **state == TaskState::Blocked).count();
        let expanded = view.state
            == TaskState::Waiting {
                reason: Reason::Items,
            };
        if expanded {
            assert_eq!(view.unmet as usize, open, "the head counts its items");
            assert!(open > 0, "a head waits for nothing");
            let at_once = self
                .graph
                .task(head)
                .max_parallel
                .map_or(usize::MAX, |n| n as usize);
            assert!(open - blocked <= at_once, "more items at once than allowed");
            if self.run.state != RunState::Cancelling {
                let most = at_once.min(open);
                assert_eq!(open - blocked, most, "an item is held back though there is room");
            }
        } else {
            assert_eq!(open, 0, "the head ended before its items");
        }
        let any = |wanted: fn(&TaskState) -> bool| all.iter().any(wanted);
        match view.state {
            TaskState::Succeeded { .. } => {
                assert!(!any(|s| !matches!(s, TaskState::Succeeded { .. })));
            }
            TaskState::Failed {
                reason: Reason::ItemsFailed,
            } => assert!(any(|s| matches!(s, TaskState::Failed { .. }))),
            TaskState::Rejected { .. } => {
                assert!(!any(|s| matches!(s, TaskState::Failed { .. })));
            }
            _ => {}
        }
    }

    fn check(&self) {
        let maps = self.graph.tasks().iter().zip(0..);
        maps.filter(|(task, _)| task.for_each.is_some())
            .for_each(|(_, head)| self.check_map(head));
        assert_eq!(self.told.run, self.run.state, "the events, folded, give the run");
        for (idx, task) in &self.tasks {
            let told = self.told.tasks.get(idx).copied().unwrap_or(TaskState::Blocked);
            assert_eq!(told, task.state, "the events, folded, give task {idx}");
        }
        let open = self.tasks.values().filter(|t| !t.state.is_terminal()).count();
        let active = self.tasks.values().filter(|t| t.state.is_active()).count();
        assert_eq!((self.run.open as usize, self.run.active as usize), (open, active));
        assert_eq!(
            self.run.state.is_terminal(),
            open == 0,
            "a run is over exactly when its task runs are"
        );
        for (idx, task) in self
            .tasks
            .iter()
            .filter(|(idx, task)| self.graph.item(**idx).is_none() && task.state != maps::CARRIED)
        {
            let ready = matches!(
                task.state,
                TaskState::Ready | TaskState::Running | TaskState::Succeeded { .. }
            );
            assert!(
                !ready || self.may_run(*idx),
                "task {idx} went before its needs, or against its condition"
            );
            let decided = task.state != TaskState::Blocked || self.run.state == RunState::Queued;
            let waits = self.needs_of(*idx).any(|(state, _)| !state.is_terminal());
            assert!(decided || waits, "task {idx} waits for nothing");
            assert!(task.attempt.saturating_sub(task.lost) <= self.graph.task(*idx).retry.attempts);
        }
        if self.run.state.is_terminal() {
            assert_eq!(self.run.state, self.verdict());
        }
    }

    /// The states of what a task needs, and whether a failure of each counts.
    fn needs_of(&self, idx: TaskIdx) -> impl Iterator<Item = (TaskState, bool)> {
        let needs = self.graph.task(idx).needs.iter();
        needs.map(|need| {
            (
                self.tasks[need].state,
                !self.graph.task(*need).continue_on_failure,
            )
        })
    }

    /// The conditions, as their words say.
    fn may_run(&self, idx: TaskIdx) -> bool {
        let needs: Vec<(TaskState, bool)> = self.needs_of(idx).collect();
        let succeeded = |(state, _): &(TaskState, bool)| matches!(state, TaskState::Succeeded { .. });
        let failed = |(state, counts): &(TaskState, bool)| match state {
            TaskState::Failed { .. } => *counts,
            TaskState::Cancelled { reason } => *reason == Reason::Timeout,
            TaskState::Skipped { reason } => *reason == Reason::NeedsFailed,
            _ => false,
        };
        let excused =
            |(state, counts): &(TaskState, bool)| matches!(state, TaskState::Failed { .. }) && !counts;
        needs.iter().all(|(state, _)| state.is_terminal())
            && match self.graph.task(idx).run_if {
                RunIf::AllSucceeded => needs.iter().all(|need| succeeded(need) || excused(need)),
                RunIf::AllDone => true,
                _ if needs.is_empty() => true,
                RunIf::AnyFailed => needs.iter().any(failed),
                RunIf::AnySucceeded => needs.iter().any(succeeded),
            }
    }

    /// The end of a run, from the ends of all its task runs: cancelled > failed > rejected > succeeded.
    fn verdict(&self) -> RunState {
        let any = |wanted: fn(&TaskState) -> bool| {
            let counts = |idx: &TaskIdx, state: &TaskState| {
                !(matches!(state, TaskState::Failed { .. }) && self.graph.task(*idx).continue_on_failure)
            };
            let heads = self
                .tasks
                .iter()
                .filter(|(idx, _)| self.graph.item(**idx).is_none());
            let mut ends = heads.filter(|(idx, task)| counts(idx, &task.state));
            ends.any(|(_, task)| wanted(&task.state))
        };
        // What was stopped because its run took too long counts as a failure.
        let failed = |s: &TaskState| {
            let late = Reason::Timeout;
            matches!(s, TaskState::Failed { .. }) || *s == (TaskState::Cancelled { reason: late })
        };
        if any(|s| matches!(s, TaskState::Cancelled { reason } if *reason != Reason::Timeout)) {
            RunState::Cancelled
        } else if any(failed) {
            RunState::Failed
        } else if any(|s| matches!(s, TaskState::Rejected { .. })) {
            RunState::Rejected
        } else {
            RunState::Succeeded
        }
    }

    /// What the attempt of the head of a map can come to, in place of an outcome drawn for any task.
    fn fitting(&self, idx: TaskIdx, outcome: Outcome) -> Outcome {
        let list = self.graph.task(idx).for_each.as_ref();
        let list = list.filter(|_| self.graph.item(idx).is_none());
        match (list.and_then(serde_json::Value::as_array), outcome) {
            (
                Some(items),
                Outcome::Succeeded | Outcome::Cached | Outcome::Asked | Outcome::Rejected { .. },
            ) => Outcome::Expanded {
                count: items.len() as u32,
            },
            // The condition is asked of the head.
            (None, Outcome::Unneeded) if self.graph.item(idx).is_some() => Outcome::Succeeded,
            _ => outcome,
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

fn asks(state: &TaskState) -> bool {
    matches!(
        state,
        TaskState::Waiting {
            reason: Reason::Approval
        }
    )
}

/// Lets everything that is left succeed. When nothing goes wrong any more a run ends, and soon.
fn finish(world: &mut World) {
    let soon = 4 * world.graph.size() as usize * 8;
    for _ in 0..soon {
        if let Some(idx) = world.pick(0, |s| *s == TaskState::Running) {
            world.advance(idx, world.fitting(idx, Outcome::Succeeded));
        } else if let Some(idx) = world.pick(0, |s| s.comes_due()) {
            world.advance(idx, Outcome::Claimed);
        } else if let Some(idx) = world.pick(0, |s| s.is_parked()) {
            world.advance(idx, Outcome::Woken);
        } else if let Some(idx) = world.pick(0, asks) {
            world.advance(idx, Outcome::Approved);
        } else {
            break;
        }
    }
    let stuck = || world.tasks.iter().filter(|(_, view)| !view.state.is_terminal());
    assert!(
        world.run.state.is_terminal(),
        "stuck: {:?}",
        stuck().collect::<Vec<_>>()
    );
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

/// Three tasks: the first fails, the second is skipped for it, the third needs the second and is as given.
fn after_a_failure(last: Traits, first: Traits) -> World {
    let shape = [vec![], vec![true], vec![false, true]];
    let mut world = World::new(graph_of(&shape, &[first, Traits::default(), last], 1));
    world.advance(0, Outcome::Claimed);
    let failed = Outcome::Failed {
        reason: Reason::Error,
        again: true,
    };
    world.advance(0, failed);
    world
}

#[test]
fn a_failure_far_before_it_wakes_what_waits_for_one_and_the_run_fails_all_the_same() {
    let any_failed = Traits {
        run_if: RunIf::AnyFailed,
        ..Traits::default()
    };
    let mut world = after_a_failure(any_failed, Traits::default());
    assert_eq!(world.tasks[&2].state, TaskState::Ready);
    finish(&mut world);
    assert_eq!(world.run.state, RunState::Failed);
}

#[test]
fn a_failure_that_does_not_count_holds_nothing_up() {
    let tolerated = Traits {
        continue_on_failure: true,
        ..Traits::default()
    };
    let mut world = after_a_failure(Traits::default(), tolerated);
    assert_eq!(world.tasks[&1].state, TaskState::Ready);
    finish(&mut world);
    assert_eq!(world.run.state, RunState::Succeeded);
    assert!(matches!(world.tasks[&0].state, TaskState::Failed { .. }));
}

#[test]
fn what_runs_however_its_needs_end_does_not_start_in_a_run_that_is_cancelled() {
    let all_done = Traits {
        run_if: RunIf::AllDone,
        ..Traits::default()
    };
    let mut world = World::new(graph_of(&[vec![], vec![true]], &[Traits::default(), all_done], 1));
    world.advance(0, Outcome::Claimed);
    world.cancel(Reason::Requested);
    world.advance(0, Outcome::Succeeded);
    assert!(matches!(world.tasks[&1].state, TaskState::Cancelled { .. }));
    assert_eq!(world.run.state, RunState::Cancelled);
}

#[test]
fn a_stop_that_comes_too_late_to_stop_anything_is_no_reason() {
    let mut world = World::new(graph_of(&[vec![]], &[Traits::default()], 1));
    world.advance(0, Outcome::Claimed);
    world.cancel(Reason::ParentEnded);
    assert_eq!(world.run.reason, Some(Reason::ParentEnded));
    world.advance(0, Outcome::Succeeded);
    assert_eq!((world.run.state, world.run.reason), (RunState::Succeeded, None));
}

fn map_of(items: u32, at_once: Option<u32>) -> World {
    let map = Traits {
        map: Some((items, at_once)),
        ..Traits::default()
    };
    let mut world = World::new(graph_of(&[vec![], vec![true]], &[map, Traits::default()], 2));
    world.advance(0, Outcome::Claimed);
    world
}

#[test]
fn a_map_over_nothing_succeeds_and_what_needs_it_runs() {
    let mut world = map_of(0, None);
    world.advance(0, Outcome::Expanded { count: 0 });
    assert_eq!(world.tasks[&0].state, TaskState::Succeeded { reason: None });
    assert_eq!(world.tasks[&1].state, TaskState::Ready);
    finish(&mut world);
    assert_eq!(world.run.state, RunState::Succeeded);
}

#[test]
fn a_failed_item_is_tried_again_then_fails_the_map_when_the_others_are_over() {
    let mut world = map_of(3, Some(1));
    world.advance(0, Outcome::Expanded { count: 3 });
    let first = world.graph.item_at(0, 0);
    let failed = Outcome::Failed {
        reason: Reason::Error,
        again: true,
    };
    world.advance(first, Outcome::Claimed);
    world.advance(first, failed);
    assert_eq!(
        world.tasks[&first].state,
        TaskState::Backoff,
        "each item has its attempts"
    );
    world.advance(first, Outcome::Claimed);
    world.advance(first, failed);
    assert_eq!(world.tasks[&world.graph.item_at(0, 1)].state, TaskState::Ready);
    assert_eq!(world.tasks[&world.graph.item_at(0, 2)].state, TaskState::Blocked);
    finish(&mut world);
    let reason = Reason::ItemsFailed;
    assert_eq!(world.tasks[&0].state, TaskState::Failed { reason });
    let skipped = TaskState::Skipped {
        reason: Reason::NeedsFailed,
    };
    assert_eq!(world.tasks[&1].state, skipped);
    assert_eq!(world.run.state, RunState::Failed);
}

#[test]
fn a_cancelled_map_ends_with_its_last_item() {
    let mut world = map_of(3, Some(2));
    world.advance(0, Outcome::Expanded { count: 3 });
    let first = world.graph.item_at(0, 0);
    world.advance(first, Outcome::Claimed);
    world.cancel(Reason::Requested);
    let items = TaskState::Waiting {
        reason: Reason::Items,
    };
    assert_eq!(world.tasks[&0].state, items);
    world.advance(first, Outcome::Stopped);
    assert!(matches!(world.tasks[&0].state, TaskState::Cancelled { .. }));
    assert_eq!(world.run.state, RunState::Cancelled);
}

#[test]
fn items_that_are_carried_over_do_not_run_again() {
    let mut world = map_of(3, Some(1));
    let (epoch, attempt) = (7, 2);
    for item in [0, 2] {
        let idx = world.graph.item_at(0, item);
        world.carried.insert(idx, Carried { epoch, attempt });
    }
    world.advance(0, Outcome::Expanded { count: 3 });
    let states: Vec<&str> = (0..3)
        .map(|item| world.tasks[&world.graph.item_at(0, item)].state.as_str())
        .collect();
    assert_eq!(states, ["succeeded", "ready", "succeeded"]);
    assert_eq!(world.tasks[&world.graph.item_at(0, 2)].epoch, epoch);
    finish(&mut world);
    assert_eq!(world.run.state, RunState::Succeeded);
}

#[test]
fn ten_thousand_items_cost_ten_thousand_steps() {
    let mut world = map_of(10_000, Some(8));
    let expanded = Outcome::Expanded { count: 10_000 };
    advance(world.slice(), &[(0, expanded)], &mut || 0.5).unwrap();
    for item in 0..10_000 {
        let idx = world.graph.item_at(0, item);
        // As the store loads it: the item, its head, and the next item.
        let keep = frontier(&world.graph, [idx])
            .into_iter()
            .chain(world.next_items(&[(idx, Outcome::Succeeded)]));
        let mut small: BTreeMap<TaskIdx, TaskView> =
            keep.map(|idx| (idx, world.tasks[&idx].clone())).collect();
        assert!(small.len() <= 3);
        for outcome in [Outcome::Claimed, Outcome::Succeeded] {
            let slice = Slice {
                graph: &world.graph,
                run: &mut world.run,
                tasks: &mut small,
                maps: &mut world.maps,
                carried: &world.carried,
                now: Timestamp::UNIX_EPOCH,
            };
            match advance(slice, &[(idx, outcome)], &mut || 0.5) {
                Ok(_) => {}
                Err(PlanError::Beyond(next)) => assert_eq!((item, next), (9_999, 1)),
                Err(other) => panic!("{other}"),
            }
        }
        world.tasks.extend(small);
    }
    assert_eq!(world.tasks[&0].unmet, 0);
}

#[test]
fn a_retry_keeps_what_rests_on_nothing_that_runs_again() {
    // 0 ← 1 (skipped), 0 ← 2, (1, 2) ← 3, 2 ← 4 (failed, tolerated) ← 5, 0 ← 6 (a map that failed)
    let shape = [
        vec![],
        vec![true],
        vec![true],
        vec![false, true, true],
        vec![false, false, true],
        vec![false, false, false, false, true],
        vec![true],
    ];
    let mut traits = [Traits::default(); 7];
    traits[3].run_if = RunIf::AnySucceeded;
    traits[6].map = Some((2, None));
    let graph = graph_of(&shape, &traits, 1);
    let done = TaskState::Succeeded { reason: None };
    let skipped = TaskState::Skipped {
        reason: Reason::ConditionFalse,
    };
    let failed = TaskState::Failed {
        reason: Reason::Error,
    };
    let ends: BTreeMap<TaskIdx, TaskState> = (0..)
        .zip([done, skipped, done, done, failed, done, failed])
        .collect();
    let tasks = |from| kept(&graph, &ends, from).tasks.into_iter().collect::<Vec<_>>();
    assert_eq!(
        tasks(None),
        [0, 2, 3],
        "the join stands on a skip that comes again"
    );
    assert_eq!(tasks(Some(2)), [0]);
    assert_eq!(tasks(Some(0)), Vec::<TaskIdx>::new());
    assert_eq!(kept(&graph, &ends, None).maps, BTreeSet::from([6]));
    assert_eq!(kept(&graph, &ends, Some(6)).maps, BTreeSet::new());
}

#[test]
fn a_retry_waits_for_the_instant_that_the_failure_named() {
    let mut world = World::new(graph(&[vec![]], 2));
    world.advance(0, Outcome::Claimed);
    let until = Timestamp::from_second(5_000).unwrap();
    let reason = Reason::Error;
    let outcome = Outcome::FailedUntil { reason, until };
    let plan = world.advance(0, outcome);
    assert_eq!(plan.steps[0].due, Some(until));
    assert_eq!(world.tasks[&0].state, TaskState::Backoff);
    world.advance(0, Outcome::Claimed);
    world.advance(0, outcome);
    assert_eq!(world.run.state, RunState::Failed, "the attempts are used up");
}

#[test]
fn what_waits_for_a_failure_does_not_start_in_a_retry_whose_needs_had_none() {
    let any_failed = Traits {
        run_if: RunIf::AnyFailed,
        ..Traits::default()
    };
    let traits = [Traits::default(), any_failed, Traits::default()];
    let graph = graph_of(&[vec![], vec![true], vec![true]], &traits, 1);
    let done = BTreeMap::from([(0, Carried { epoch: 1, attempt: 1 })]);
    let world = World::carrying(graph, &done, CarriedItems::new());
    let reason = Reason::ConditionFalse;
    assert_eq!(world.tasks[&1].state, TaskState::Skipped { reason });
    assert_eq!(world.tasks[&2].state, TaskState::Ready);
}
