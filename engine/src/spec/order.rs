//! In which order flows that run one another are applied.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::Flow;

/// Puts each flow behind those that its tasks run. Others keep their order; so does a circle, which nothing puts right.
pub fn run_first<T>(items: Vec<T>, flow_of: impl Fn(&T) -> &Flow) -> Vec<T> {
    let places: BTreeMap<String, usize> = (0..)
        .zip(&items)
        .map(|(place, item)| (flow_of(item).name.to_string(), place))
        .collect();
    let beneath: Vec<Vec<usize>> = items
        .iter()
        .map(|item| {
            let children = flow_of(item)
                .graph
                .tasks()
                .iter()
                .filter_map(|task| task.sub_flow());
            children.filter_map(|name| places.get(name).copied()).collect()
        })
        .collect();
    let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
    for place in 0..items.len() {
        visit(place, &beneath, (&mut seen, &mut order));
    }
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|place| items.get_mut(place)?.take())
        .collect()
}

fn visit(place: usize, beneath: &[Vec<usize>], (seen, order): (&mut BTreeSet<usize>, &mut Vec<usize>)) {
    if !seen.insert(place) {
        return;
    }
    for child in &beneath[place] {
        visit(*child, beneath, (&mut *seen, &mut *order));
    }
    order.push(place);
}
