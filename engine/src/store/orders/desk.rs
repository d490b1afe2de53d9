//! The desk: what comes while a batch of orders is being placed is the next batch. One commit for all of it, and one lock on a flow
//! that many ask for at once.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::super::{Result, Store, StoreError};
use super::batch::{self, Asked};
use super::{Order, Placed};

/// Orders in one transaction at most.
const BATCH: usize = 64;

/// Orders that wait, and whether somebody places what is there.
#[derive(Default)]
pub(in crate::store) struct Desk(Mutex<Line>);

#[derive(Default)]
struct Line {
    busy: bool,
    waiting: Vec<Waiting>,
}

struct Waiting {
    order: Order,
    /// When it was asked for.
    at: Timestamp,
    answer: oneshot::Sender<Result<Placed>>,
}

impl Desk {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the line; `true`: nobody works on it.
    fn join(&self, waiting: Waiting) -> bool {
        let mut line = self.line();
        line.waiting.push(waiting);
        !std::mem::replace(&mut line.busy, true)
    }

    /// The next batch. `None`: nobody waits, and the desk is left.
    fn next(&self) -> Option<Vec<Waiting>> {
        let mut line = self.line();
        if line.waiting.is_empty() {
            line.busy = false;
            return None;
        }
        let count = line.waiting.len().min(BATCH);
        Some(line.waiting.drain(..count).collect())
    }
}

/// Hands an order in and waits for what becomes of it.
pub(super) async fn hand_in(store: &Store, order: Order, at: Timestamp) -> Result<Placed> {
    let (answer, answered) = oneshot::channel();
    let first = store.desk.join(Waiting { order, at, answer });
    if first {
        // In a task of its own: whoever hung up meanwhile was served nevertheless, and the others with them.
        tokio::spawn(serve(store.clone()));
    }
    let broken = |_| StoreError::Broken("whoever placed it is gone".to_owned());
    answered.await.map_err(broken)?
}

async fn serve(store: Store) {
    while let Some(waiting) = store.desk.next() {
        let orders: Vec<Asked> = waiting.iter().map(|one| (one.order.clone(), one.at)).collect();
        match batch::place(&store, orders).await {
            Ok(placed) => {
                let served = waiting.into_iter().zip(placed);
                served.for_each(|(one, placed)| drop(one.answer.send(Ok(placed))));
            }
            // One of them may be the reason: each for itself.
            Err(_) => one_by_one(&store, waiting).await,
        }
    }
}

async fn one_by_one(store: &Store, waiting: Vec<Waiting>) {
    for Waiting { order, at, answer } in waiting {
        let placed = batch::place(store, vec![(order, at)]).await;
        let placed = placed.and_then(|mut placed| placed.pop().ok_or(StoreError::Stale));
        drop(answer.send(placed));
    }
}
