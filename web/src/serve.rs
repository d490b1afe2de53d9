//! The accept loop.
//!
//! `axum::serve` gives hyper no timer, so a client that sends its head a byte at a time is never hung up on. This loop does, holds the
//! number of connections, and lets those that are being answered finish when the process shall end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tidegate_engine::clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, Config, Services, router};

/// A head must be there within this; so must the next one on a connection that is kept open.
const HEAD: Duration = Duration::from_secs(10);
/// Bytes of a head; 431 beyond.
const HEAD_BYTES: usize = 64 * 1024;
/// Header fields; 431 beyond.
const HEAD_FIELDS: usize = 100;
/// What is being answered may take so long to finish at the end.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until `stop`; then accepts nothing more and lets what is being answered finish, ten seconds at most.
///
/// Errors: the listener is none.
pub async fn serve(
    config: Config,
    services: Services,
    listener: TcpListener,
    stop: CancellationToken,
) -> io::Result<()> {
    listener.local_addr()?;
    let seats = Arc::new(Semaphore::new(config.connections));
    let router = router(App::new(config, services, stop.clone()));
    let connections = TaskTracker::new();
    loop {
        let seat = tokio::select! {
            () = stop.cancelled() => break,
            seat = Arc::clone(&seats).acquire_owned() => seat.map_err(io::Error::other)?,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let answered = answer(stream, router.clone(), stop.clone());
                connections.spawn(async move {
                    answered.await;
                    drop(seat);
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: some will be free again soon.
                tracing::warn!(%error, "a connection could not be accepted");
                clock::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections did not end in time");
    }
    Ok(())
}

async fn answer(stream: TcpStream, router: Router, stop: CancellationToken) {
    // Small answers must not wait for each other.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    note(connection.await);
}

fn note(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}
