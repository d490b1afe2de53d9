//! Ctrl-C and SIGTERM: the first asks for an end, the second makes it.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, code};
use crate::term::complain;

/// For a process that has something to end.
pub const ENDING: &str = "ending; once more to end at once\n";

/// A token that the first signal cancels; the second ends the process.
pub fn interrupted() -> Result<CancellationToken, Failure> {
    let stop = CancellationToken::new();
    stop_on_signal(&stop, "")?;
    Ok(stop)
}

/// Cancels `stop` at the first signal, with a few words; the second ends the process where it stands.
pub fn stop_on_signal(stop: &CancellationToken, words: &'static str) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = stop.clone();
    tokio::spawn(async move {
        for second in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if second {
                std::process::exit(code::INTERRUPTED.into());
            }
            complain(words);
            stop.cancel();
        }
    });
    Ok(())
}
