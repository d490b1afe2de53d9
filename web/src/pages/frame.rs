//! What stands around every page: the way to the others, who is signed in, what waits.

use jiff::Timestamp;
use tidegate_engine::command::{Role, may_roll_back};
use tidegate_engine::plugin::chain;

use crate::app::App;
use crate::assets;
use crate::guard::Visitor;
use crate::words::Moment;

/// The places that can be gone to from anywhere.
const PLACES: [(&str, &str); 8] = [
    ("/", "Overview"),
    ("/approvals", "Approvals"),
    ("/runs", "Runs"),
    ("/flows", "Flows"),
    ("/models", "Models"),
    ("/schedules", "Schedules"),
    ("/workers", "Workers"),
    ("/ledger", "Ledger"),
];

/// Where only administrators go.
const ADMIN: (&str, &str) = ("/admin", "Admin");

/// What stands around a page.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Who is signed in; empty when nobody is.
    pub name: String,
    /// Grants, in words.
    pub roles: String,
    /// What forms carry.
    pub csrf: String,
    /// Approvals that nobody decided yet.
    pub waiting: i64,
    /// The way to the other pages.
    pub places: Vec<Place>,
    /// May trigger, cancel, retry.
    pub operates: bool,
    /// May move an alias back.
    pub rolls_back: bool,
    /// Stands in the addresses of assets.
    pub assets: &'static str,
    /// The moment of showing.
    pub now: Timestamp,
}

/// A way to a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Path.
    pub path: &'static str,
    /// Word.
    pub word: &'static str,
    /// It is where one is.
    pub here: bool,
}

impl Frame {
    /// Around a page for someone who signed in; `here` is the place it belongs to.
    pub async fn load(app: &App, visitor: &Visitor, here: &str, now: Timestamp) -> Self {
        // A frame without its number is better than no page.
        let waiting = app.store.open_approvals().await.unwrap_or_else(|error| {
            tracing::debug!(error = chain(&error), "approvals were not counted");
            0
        });
        Self::of(visitor, (here, waiting), now)
    }

    /// The same, of what is known already.
    pub fn of(visitor: &Visitor, (here, waiting): (&str, i64), now: Timestamp) -> Self {
        let roles: Vec<&str> = visitor.actor.roles.iter().map(|role| role.as_str()).collect();
        Self {
            name: visitor.actor.name.clone(),
            roles: roles.join(", "),
            csrf: visitor.csrf.clone(),
            waiting,
            places: places(here, visitor.actor.has(Role::Admin)),
            operates: visitor.actor.has(Role::Operator),
            rolls_back: may_roll_back(&visitor.actor),
            assets: &assets::VERSION,
            now,
        }
    }

    /// Around a page for someone who did not.
    pub fn nobody(now: Timestamp) -> Self {
        Self {
            name: String::new(),
            roles: String::new(),
            csrf: String::new(),
            waiting: 0,
            places: Vec::new(),
            operates: false,
            rolls_back: false,
            assets: &assets::VERSION,
            now,
        }
    }

    /// An instant, seen from now.
    pub fn moment(&self, at: &Timestamp) -> Moment {
        Moment {
            at: *at,
            now: self.now,
        }
    }
}

fn places(here: &str, admin: bool) -> Vec<Place> {
    let place = |&(path, word): &(&'static str, &'static str)| Place {
        path,
        word,
        here: path == here,
    };
    let own = admin.then_some(&ADMIN);
    PLACES.iter().chain(own).map(place).collect()
}
