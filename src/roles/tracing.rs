//! What the process tells of itself on standard error.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::cli::Session;

/// How much is told when `RUST_LOG` says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quiet {
    /// What happens: a server, a worker.
    No,
    /// Trouble only: somebody looks at progress meanwhile.
    Yes,
}

/// Starts telling. A broken `RUST_LOG` is told of and left aside.
pub fn trace(session: &Session, quiet: Quiet) {
    let fallback = match quiet {
        Quiet::No => "info",
        Quiet::Yes => "warn",
    };
    let wanted = session.env.get("RUST_LOG").unwrap_or(fallback);
    let filter = EnvFilter::try_new(wanted).unwrap_or_else(|error| {
        crate::term::complain(&format!("RUST_LOG is left aside: {error}\n"));
        EnvFilter::new(fallback)
    });
    let subscriber = tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(session.term.color_err)
        .with_target(false)
        .finish();
    // A second one would be a mistake of this program; the first goes on.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Says that nothing goes to the collector that somebody has set up.
pub fn warn_of_otlp(session: &Session) {
    if session.env.get("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
        tracing::warn!("OTEL_EXPORTER_OTLP_ENDPOINT is set, but traces are not exported yet");
    }
}
