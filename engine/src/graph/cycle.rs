//! Who needs itself, by which way.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::id::TaskIdx;

/// One cycle among `needs` (each task's needs by position), first position repeated at the end.
pub fn find_cycle(needs: &[&[TaskIdx]]) -> Option<Vec<TaskIdx>> {
    find_cycles(needs).into_iter().next()
}

/// One cycle of each knot of tasks that need each other; each as in [`find_cycle`].
pub fn find_cycles(needs: &[&[TaskIdx]]) -> Vec<Vec<TaskIdx>> {
    let mut graph: DiGraph<(), (), u32> = DiGraph::with_capacity(needs.len(), needs.len());
    for _ in needs {
        graph.add_node(());
    }
    for (idx, list) in needs.iter().enumerate() {
        for &need in *list {
            graph.add_edge(NodeIndex::new(idx), NodeIndex::new(need as usize), ());
        }
    }
    let loops = |scc: &Vec<NodeIndex<u32>>| scc.len() > 1 || graph.contains_edge(scc[0], scc[0]);
    let knots = tarjan_scc(&graph).into_iter().filter(loops);
    knots
        .map(|knot| walk_cycle(needs, &knot.iter().map(|n| n.index() as TaskIdx).collect()))
        .collect()
}

/// Follows needs inside a strongly connected set until a task comes again.
fn walk_cycle(needs: &[&[TaskIdx]], knot: &BTreeSet<TaskIdx>) -> Vec<TaskIdx> {
    let mut path: Vec<TaskIdx> = knot.first().copied().into_iter().collect();
    let mut seen: BTreeMap<TaskIdx, usize> = path.iter().map(|&t| (t, 0)).collect();
    while let Some(&last) = path.last() {
        let Some(&next) = needs[last as usize].iter().find(|n| knot.contains(n)) else {
            break;
        };
        if let Some(&start) = seen.get(&next) {
            let mut cycle = path.split_off(start);
            cycle.push(next);
            return cycle;
        }
        seen.insert(next, path.len());
        path.push(next);
    }
    path
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_cycle_is_named_by_its_path() {
        let needs: Vec<&[TaskIdx]> = vec![&[], &[3, 0], &[1], &[2]];
        let cycle = find_cycle(&needs).unwrap();
        assert_eq!(cycle.len(), 4);
        assert_eq!(cycle.first(), cycle.last());
        assert!(!cycle.contains(&0));
    }

    #[test]
    fn a_task_that_needs_itself_is_a_cycle_of_one() {
        assert_eq!(find_cycle(&[&[0]]), Some(vec![0, 0]));
    }

    #[test]
    fn a_long_chain_is_no_cycle_and_needs_no_stack() {
        let lists: Vec<Vec<TaskIdx>> = (0..10_000)
            .map(|i| if i == 0 { vec![] } else { vec![i - 1] })
            .collect();
        let needs: Vec<&[TaskIdx]> = lists.iter().map(Vec::as_slice).collect();
        assert_eq!(find_cycle(&needs), None);
    }
}
