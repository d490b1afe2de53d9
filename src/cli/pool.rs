//! `tidegate pool`: limits on how many task runs hold a slot at once.

use clap::{Args, Subcommand};
use tidegate_engine::command;
use tidegate_engine::view::Pool;

use super::{Ended, Output, Session, page, say_json};
use crate::failure::code;
use crate::term::{Cell, Style, Table, say};
use crate::words::{count, short};

/// Arguments of `pool`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// All pools, who holds their slots and how many wait
    List,
    /// Make a pool, or give it another size
    Set {
        /// The pool
        name: String,
        /// Its slots; 0 lets nothing start
        #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(command::LARGEST_POOL)))]
        slots: u32,
    },
    /// Remove a pool that no flow names
    Rm {
        /// The pool
        name: String,
    },
}

/// Lists, makes, resizes, removes.
pub async fn run(args: Arguments, session: &Session) -> Ended {
    let desk = session.desk().await?;
    match args.verb {
        Verb::List => return list(desk.pools().await?, args.output, session),
        Verb::Set { name, slots } => {
            let changed = desk.set_pool((&name, slots)).await?;
            if args.output == Output::Json {
                return say_json(&page(desk.pools().await?));
            }
            let before = if changed { "has" } else { "had already" };
            say(&format!("pool {name} {before} {}\n", count(slots, "slot")));
        }
        Verb::Rm { name } => {
            desk.remove_pool(&name).await?;
            if args.output == Output::Json {
                return say_json(&page(desk.pools().await?));
            }
            say(&format!("pool {name} is gone\n"));
        }
    }
    Ok(code::DONE)
}

fn list(pools: Vec<Pool>, output: Output, session: &Session) -> Ended {
    if output == Output::Json {
        return say_json(&page(pools));
    }
    let mut table = Table::new(&["POOL", "SLOTS", "HELD", "WAITING", "BY"], 4);
    for pool in &pools {
        let holders = pool.holders.iter();
        let holders: Vec<String> = holders
            .map(|held| format!("{}/{} {}", held.flow, held.task, short(held.run)))
            .collect();
        table.row(vec![
            Cell::styled(&pool.name, Style::Bold),
            Cell::new(pool.size.to_string()),
            Cell::new(pool.holders.len().to_string()),
            Cell::new(pool.waiting.to_string()),
            Cell::maybe((!holders.is_empty()).then(|| holders.join(", "))),
        ]);
    }
    say(&table.render(
        &session.term,
        "there are no pools; make one: tidegate pool set NAME SLOTS",
    ));
    Ok(code::DONE)
}
