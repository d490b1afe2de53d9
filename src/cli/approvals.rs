//! `tidegate approvals`: the decisions that are asked for.

use clap::Args;
use jiff::Timestamp;
use tidegate_engine::clock;
use tidegate_engine::view::Approval;

use super::{Ended, Output, Session, say_json};
use crate::failure::code;
use crate::term::{Cell, Table, say, style_of};
use crate::words::{distance, short};

/// Arguments of `approvals`.
#[derive(Debug, Args)]
pub struct Approvals {
    /// Decided and closed ones too
    #[arg(long)]
    all: bool,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Lists them, newest first.
pub async fn list(args: Approvals, session: &Session) -> Ended {
    let approvals = session.desk().await?.approvals(args.all).await?;
    if args.output == Output::Json {
        return say_json(&approvals);
    }
    say(&table(&approvals.items, clock::now()).render(&session.term, "nothing waits for a decision"));
    Ok(code::DONE)
}

fn table(approvals: &[Approval], now: Timestamp) -> Table {
    let mut table = Table::new(&["RUN/TASK", "FLOW", "STATE", "LEFT", "QUESTION"], 4);
    for approval in approvals {
        let left = (approval.state == "open").then(|| distance(approval.expires_at.duration_since(now)));
        table.row(vec![
            Cell::new(format!("{}/{}", short(approval.run), approval.task)),
            Cell::new(&approval.flow),
            Cell::styled(&approval.state, style_of(&approval.state)),
            Cell::maybe(left),
            Cell::new(
                approval
                    .message
                    .as_deref()
                    .or(approval.action.as_deref())
                    .unwrap_or_default(),
            ),
        ]);
    }
    table
}
