//! The demo: a home with made-up learning events, a first production model from an older window, and a nightly retrain that
//! comes up to a person.
//!
//! ```text
//! lake ∥ PostgreSQL ─► flows ─► login ─► first model (decided by `demo-setup`) ─► nightly retrain ─► waits for a person
//! ```
//! Started again it goes on where it was: each step looks first at what is there.

mod home;
mod playbook;

use jiff::Timestamp;
use serde_json::Map;
use tidegate_engine::clock;
use tidegate_engine::command::{self, Actor, Choice, Decision, Request, Role};
use tidegate_engine::id::RunId;
use tidegate_engine::spec::params;
use tidegate_engine::store::Store;
use tidegate_engine::store::people::NewPerson;
use tidegate_engine::store::read::RunFilter;
use tidegate_engine::store::runs::NewRun;
use tidegate_engine::view::{Approval, Run, RunSummary};
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::desk::Desk;
use crate::failure::Failure;
use crate::roles::Login;
use crate::term::{Style, Term, paint, say};
use crate::watch::{self, Screen, Until, Why, tree};

pub use home::DemoHome;

/// The flow that is shown.
const FLOW: &str = "train-ranking-model";
/// The model it makes.
const MODEL: &str = "ranking_model";
/// The task that asks a person.
const GATE: &str = "production";
/// Its schedule.
const SCHEDULE: &str = "nightly";
/// Who can sign in.
const LOGIN: &str = "demo";
/// Who decides on the first model, before anybody is there.
const SETUP: &str = "demo-setup";

/// What the demo plays on.
pub struct Stage<'s> {
    /// Its database.
    pub backend: &'s Backend,
    /// Its home.
    pub home: &'s DemoHome,
    /// Where it is seen.
    pub term: &'s Term,
    /// What is seen of the runs.
    pub screen: Screen<'s>,
    /// Ends it.
    pub stop: CancellationToken,
}

/// How far it came.
pub enum Played {
    /// Told to end.
    Ended,
    /// A run that waits for a decision, or ended.
    Run(Box<Run>),
}

impl Stage<'_> {
    fn store(&self) -> &Store {
        &self.backend.store
    }

    fn title(&self, text: &str) {
        say(&format!("{}\n", paint(text, Style::Bold, self.term.color)));
    }

    /// Applies the playbook and makes who can sign in.
    pub async fn set_up(&self) -> Result<Login, Failure> {
        let system = Actor::system();
        for version in playbook::versions(&self.home.lake(), &system.name)? {
            command::apply(self.store(), &system, version, clock::now()).await?;
        }
        let login = Login {
            name: LOGIN.to_owned(),
            password: self.home.password().to_owned(),
        };
        self.add(
            LOGIN,
            &[Role::Operator, Role::Approver],
            Some(login.password.clone()),
        )
        .await?;
        self.add(SETUP, &[Role::Approver], None).await?;
        Ok(login)
    }

    async fn add(&self, name: &str, roles: &[Role], password: Option<String>) -> Result<(), Failure> {
        let person = NewPerson {
            name: name.to_owned(),
            roles: roles.to_vec(),
            password,
            os_user: None,
        };
        // `false`: a start before this one made it.
        let _made = self.store().add_person(person, clock::now()).await?;
        Ok(())
    }

    /// Both runs, up to what a person has to decide.
    pub async fn play(&mut self) -> Result<Played, Failure> {
        let (older, newer) = self.home.nights();
        if !self.has_production().await? {
            self.title("1 of 2  a first production model, from the 30 days up to a week ago");
            let run = self.run_of(older).await?;
            if let Some(ended) = self.first_model(run).await? {
                return Ok(ended);
            }
        }
        self.title("2 of 2  the nightly retrain, against it");
        let run = self.newest_but(older, newer).await?;
        Ok(match self.watch(run, true).await? {
            (Why::Told, _) => Played::Ended,
            (_, run) => Played::Run(Box::new(run)),
        })
    }

    /// Runs the older night to its end. `Some`: it is over here.
    async fn first_model(&mut self, run: RunId) -> Result<Option<Played>, Failure> {
        let (why, seen) = self.watch(run, true).await?;
        match why {
            Why::Told => return Ok(Some(Played::Ended)),
            Why::Waits => {
                let setup = Actor::person(SETUP, [Role::Approver]);
                self.approve(
                    &seen,
                    (
                        &setup,
                        "the demo's first model: there is nothing to compare it with",
                    ),
                )
                .await?;
            }
            Why::Ended | Why::TimedOut => {}
        }
        let (why, seen) = self.watch(run, false).await?;
        if why == Why::Told {
            return Ok(Some(Played::Ended));
        }
        Ok((seen.summary.state != "succeeded").then(|| Played::Run(Box::new(seen))))
    }

    async fn has_production(&self) -> Result<bool, Failure> {
        let models = self.store().models().await?;
        let aliases = models
            .iter()
            .filter(|model| model.name == MODEL)
            .flat_map(|model| &model.aliases);
        Ok(aliases.into_iter().any(|alias| alias.alias == "production"))
    }

    /// The run of a night, made when there is none.
    async fn run_of(&self, night: Timestamp) -> Result<RunId, Failure> {
        let now = clock::now();
        if let Some(run) = self.runs().await?.iter().find(|run| is_of(run, night)) {
            return Ok(RunId(run.id));
        }
        let Some((_, flow)) = self.store().flow(FLOW, now).await? else {
            return Err(Failure::refused(format!("no flow `{FLOW}`")));
        };
        let resolved = params::resolve(&flow, Map::new()).map_err(command::CommandError::Params)?;
        let id = clock::new_run_id();
        let new = NewRun {
            id,
            flow: FLOW.to_owned(),
            version: None,
            trigger: "schedule".to_owned(),
            requester: Actor::system().name,
            tick: Some((SCHEDULE.to_owned(), night)),
            params: resolved,
        };
        self.store().create_run(new, now).await?;
        Ok(id)
    }

    /// A retrain that is not over yet, else that of the newer night, else another one.
    async fn newest_but(&self, older: Timestamp, newer: Timestamp) -> Result<RunId, Failure> {
        let runs = self.runs().await?;
        let mut others = runs.iter().filter(|run| !is_of(run, older));
        match others.next() {
            Some(run) if watch::exit_code(&run.state).is_none() => Ok(RunId(run.id)),
            Some(_) => {
                let wanted = (FLOW, Request::default(), "manual", None);
                let triggered =
                    command::trigger(self.store(), &Actor::system(), wanted, clock::now()).await?;
                Ok(RunId(triggered.run.summary.id))
            }
            None => self.run_of(newer).await,
        }
    }

    async fn runs(&self) -> Result<Vec<RunSummary>, Failure> {
        let filter = RunFilter {
            flow: Some(FLOW.to_owned()),
            limit: 200,
            ..RunFilter::default()
        };
        Ok(self.store().runs(&filter, clock::now()).await?.items)
    }

    /// Shows a run until it ends or, if `waiting_too`, waits; leaves it on the screen as it is then.
    pub async fn watch(&mut self, run: RunId, waiting_too: bool) -> Result<(Why, Run), Failure> {
        let until = Until {
            deadline: None,
            waiting_too,
            stop: self.stop.clone(),
        };
        let seen = watch::watch(&Desk::from(self.backend), run, (&until, &mut self.screen)).await?;
        self.screen.clear();
        Ok(seen)
    }

    /// Prints a run as a tree.
    pub fn show(&self, run: &Run) {
        let lines = tree::lines(run, clock::now());
        say(&lines
            .iter()
            .map(|line| line.show(self.term.color) + "\n")
            .collect::<String>());
    }

    /// The decision that a run waits for.
    pub async fn approval(&self, run: &Run) -> Result<Approval, Failure> {
        let approval = self.store().approval_of(RunId(run.summary.id), GATE).await?;
        approval.ok_or_else(|| Failure::refused("the run waits, and asks for no decision"))
    }

    /// Opens the gate in the name of somebody.
    pub async fn approve(&self, run: &Run, (actor, comment): (&Actor, &str)) -> Result<(), Failure> {
        let approval = self.approval(run).await?;
        let decision = Decision {
            decision: Choice::Approve,
            comment: Some(comment.to_owned()),
            evidence: approval.digest,
        };
        command::decide(self.store(), actor, (approval.id, decision), clock::now()).await?;
        Ok(())
    }

    /// Opens the gate as the login, for scripts.
    pub async fn approve_as_login(&self, run: &Run) -> Result<(), Failure> {
        let login = Actor::person(LOGIN, [Role::Operator, Role::Approver]);
        self.approve(run, (&login, "decided by `tidegate demo --approve`"))
            .await
    }
}

/// Whether a run is that of a night.
fn is_of(run: &RunSummary, night: Timestamp) -> bool {
    run.scheduled_for == Some(night)
}
