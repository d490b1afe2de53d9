//! Streams of a run's events and lines, as server-sent events.
//!
//! Each message carries where the reader then stands as its id; a browser that lost the connection sends it as `Last-Event-ID`
//! and misses nothing, and gets nothing twice. A run that is over ends with a message `end`; asking again then answers 204, which
//! tells a browser not to come back.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;
use tidegate_engine::clock;
use tidegate_engine::id::RunId;
use tidegate_engine::plugin::chain;
use tidegate_engine::store::StoreError;
use tidegate_engine::store::read::LogCursor;
use tidegate_engine::store::runs::state_of;
use tidegate_engine::view::Run;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::app::App;
use crate::problem::Problem;

/// How often it is looked for something new.
const LOOK: Duration = Duration::from_millis(500);
/// How long after a change it is looked for what else comes with it.
const GATHER: Duration = Duration::from_millis(100);
/// Lines in one look.
const LINES: usize = 500;

/// Whether the client reads streams.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|accepts| accepts.to_str().ok());
    accepts.is_some_and(|accepts| accepts.contains("text/event-stream"))
}

/// Where a reader stood when it lost the connection.
pub fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("last-event-id")?.to_str().ok()?;
    (!id.is_empty()).then_some(id)
}

/// Whether a run in this state changes no more.
pub fn is_over(state: &str) -> bool {
    matches!(state, "succeeded" | "failed" | "rejected" | "cancelled")
}

/// Where a reader of a run stands.
enum Place {
    Events(i64),
    Lines(Option<String>, LogCursor),
}

struct Reader {
    app: App,
    run: RunId,
    place: Place,
    changes: watch::Receiver<u64>,
    ended: bool,
    _seat: OwnedSemaphorePermit,
}

/// Events after `after`.
pub async fn events(app: &App, run: &Run, after: i64) -> Result<Response, Problem> {
    begin(app, run, Place::Events(after)).await
}

/// Lines after the cursor, of one task or of all.
pub async fn logs(
    app: &App,
    run: &Run,
    (task, cursor): (Option<String>, LogCursor),
) -> Result<Response, Problem> {
    begin(app, run, Place::Lines(task, cursor)).await
}

async fn begin(app: &App, run: &Run, place: Place) -> Result<Response, Problem> {
    let seat = std::sync::Arc::clone(&app.streams).try_acquire_owned();
    let seat = seat.map_err(|_| Problem::unavailable("too many streams are open"))?;
    let mut reader = Reader {
        app: app.clone(),
        run: RunId(run.summary.id),
        place,
        changes: app.store.changes(),
        ended: false,
        _seat: seat,
    };
    let first = reader.look().await?;
    if first.is_empty() && is_over(&run.summary.state) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let streamed = stream::iter(first).chain(reader.follow());
    Ok(Sse::new(streamed.map(Ok::<_, Infallible>))
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response())
}

impl Reader {
    fn follow(self) -> impl Stream<Item = Event> + Send {
        let batches = stream::unfold(self, |mut reader| async move {
            if reader.ended {
                return None;
            }
            let batch = reader.next_batch().await?;
            Some((stream::iter(batch), reader))
        });
        batches.flatten()
    }

    /// What came next; `None` when the stream breaks off, and the reader should come again.
    async fn next_batch(&mut self) -> Option<Vec<Event>> {
        loop {
            // Asked before looking: what is written between the two is found by the look.
            let over = self.is_over().await?;
            let batch = self.look().await.inspect_err(note).ok()?;
            if !batch.is_empty() {
                return Some(batch);
            }
            if over {
                self.ended = true;
                return Some(vec![Event::default().event("end").data("{}")]);
            }
            tokio::select! {
                () = self.app.stop.cancelled() => return None,
                () = clock::sleep(LOOK) => {}
                // What happens in quick succession is looked at once.
                _ = self.changes.changed() => clock::sleep(GATHER).await,
            }
        }
    }

    async fn is_over(&self) -> Option<bool> {
        let state = state_of(&self.app.store, self.run).await;
        Some(state.inspect_err(note).ok()?.is_terminal())
    }

    async fn look(&mut self) -> Result<Vec<Event>, StoreError> {
        let store = &self.app.store;
        match &mut self.place {
            Place::Events(after) => {
                let found = store.events(self.run, *after).await?;
                *after = found.last().map_or(*after, |last| last.seq);
                let event =
                    |event: &tidegate_engine::view::Event| message("event", event.seq.to_string(), event);
                Ok(found.iter().map(event).collect())
            }
            Place::Lines(task, cursor) => {
                let found = store
                    .log_lines(self.run, task.as_deref(), (cursor, LINES))
                    .await?;
                if found.is_empty() {
                    return Ok(Vec::new());
                }
                // One message a look: the cursor is where the reader stands after all of them.
                Ok(vec![message("lines", cursor.to_string(), &found)])
            }
        }
    }
}

fn message(kind: &str, id: String, body: &impl Serialize) -> Event {
    let text = serde_json::to_string(body).unwrap_or_else(|_| "null".to_owned());
    Event::default().event(kind).id(id).data(text)
}

fn note(error: &StoreError) {
    tracing::warn!(error = chain(error), "a stream breaks off");
}
