//! Runs and decisions.

use tidegate_engine::clock;
use tidegate_engine::command::{self, Decision, Decline, Request, RetryRequest, Triggered};
use tidegate_engine::id::RunId;
use tidegate_engine::store::read::RunFilter;
use tidegate_engine::view::{Approval, Page, Run, RunSummary, Why};
use uuid::Uuid;

use super::Desk;
use crate::client::nothing;
use crate::failure::Failure;

/// Approvals that are listed.
const MANY: usize = 100;

impl Desk {
    /// The run that `text` means: an id, the beginning or the end of one, `last`.
    pub async fn run(&self, text: &str) -> Result<Run, Failure> {
        match self {
            Self::Here(here) => Ok(here.store.run_called(text, clock::now()).await?),
            Self::Server(server) => server.get(&["runs", text], &[]).await,
        }
    }

    /// The id of the run that `text` means.
    pub async fn run_id(&self, text: &str) -> Result<RunId, Failure> {
        match text.parse() {
            Ok(id) => Ok(id),
            Err(_) => Ok(RunId(self.run(text).await?.summary.id)),
        }
    }

    /// Runs, newest first, that fit a filter.
    pub async fn runs(&self, filter: &RunFilter) -> Result<Page<RunSummary>, Failure> {
        let server = match self {
            Self::Here(here) => return Ok(here.store.runs(filter, clock::now()).await?),
            Self::Server(server) => server,
        };
        let mut query = vec![("limit", filter.limit.to_string())];
        query.extend(filter.flow.clone().map(|flow| ("flow", flow)));
        query.extend(filter.since.map(|since| ("since", since.to_string())));
        if !filter.states.is_empty() {
            query.push(("state", filter.states.join(",")));
        }
        server.get(&["runs"], &query).await
    }

    /// Creates a run of a flow, once under a key.
    pub async fn trigger(
        &self,
        (flow, request, key): (&str, Request, Option<&str>),
    ) -> Result<Triggered, Failure> {
        match self {
            Self::Here(here) => {
                let asked = (flow, request, "manual", key);
                Ok(command::trigger(&here.store, &here.actor, asked, clock::now()).await?)
            }
            Self::Server(server) => {
                let (run, created) = server.create(&["flows", flow, "runs"], (&request, key)).await?;
                Ok(Triggered { run, created })
            }
        }
    }

    /// A new run of what did not succeed in another, once under a key.
    pub async fn retry(
        &self,
        (run, request, key): (RunId, RetryRequest, Option<&str>),
    ) -> Result<Triggered, Failure> {
        match self {
            Self::Here(here) => {
                Ok(command::retry(&here.store, &here.actor, (run, request, key), clock::now()).await?)
            }
            Self::Server(server) => {
                let path = ["runs", &run.to_string(), "retry"];
                let (run, created) = server.create(&path, (&request, key)).await?;
                Ok(Triggered { run, created })
            }
        }
    }

    /// Stops a run.
    pub async fn cancel(&self, run: RunId) -> Result<Run, Failure> {
        match self {
            Self::Here(here) => Ok(command::cancel(&here.store, &here.actor, run, clock::now()).await?),
            Self::Server(server) => {
                server
                    .post(&["runs", &run.to_string(), "cancel"], &nothing())
                    .await
            }
        }
    }

    /// Lets an emergency go, as a second person.
    pub async fn confirm(&self, run: RunId) -> Result<Run, Failure> {
        match self {
            Self::Here(here) => Ok(command::confirm(&here.store, &here.actor, run, clock::now()).await?),
            Self::Server(server) => {
                server
                    .post(&["runs", &run.to_string(), "confirm"], &nothing())
                    .await
            }
        }
    }

    /// Stops an emergency that waits, as a second person or an operator.
    pub async fn decline(&self, run: RunId, decline: Decline) -> Result<Run, Failure> {
        match self {
            Self::Here(here) => {
                let asked = (run, decline);
                Ok(command::decline(&here.store, &here.actor, asked, clock::now()).await?)
            }
            Self::Server(server) => {
                server
                    .post(&["runs", &run.to_string(), "decline"], &decline)
                    .await
            }
        }
    }

    /// What a run and its unfinished task runs wait for.
    pub async fn why(&self, run: &Run) -> Result<Why, Failure> {
        match self {
            Self::Here(here) => Ok(here.store.why(run).await?),
            Self::Server(server) => {
                server
                    .get(&["runs", &run.summary.id.to_string(), "why"], &[])
                    .await
            }
        }
    }

    /// Decisions that are asked for, newest first.
    pub async fn approvals(&self, closed_too: bool) -> Result<Page<Approval>, Failure> {
        match self {
            Self::Here(here) => Ok(here.store.approvals(closed_too, (None, MANY)).await?),
            Self::Server(server) => {
                let state = if closed_too { "all" } else { "open" };
                let query = [("state", state.to_owned()), ("limit", MANY.to_string())];
                server.get(&["approvals"], &query).await
            }
        }
    }

    /// The newest approval that a task of a run asked for.
    pub async fn approval_of(&self, run: &Run, task: &str) -> Result<Option<Approval>, Failure> {
        let id = RunId(run.summary.id);
        match self {
            Self::Here(here) => Ok(here.store.approval_of(id, task).await?),
            Self::Server(server) => {
                let path = ["runs", &id.to_string(), "tasks", task, "approval"];
                server.find(&path).await
            }
        }
    }

    /// Says yes or no to an approval.
    pub async fn decide(&self, approval: Uuid, decision: Decision) -> Result<Approval, Failure> {
        match self {
            Self::Here(here) => {
                let asked = (approval, decision);
                let decided = command::decide(&here.store, &here.actor, asked, clock::now()).await;
                decided.map_err(|error| here.explain(error))
            }
            Self::Server(server) => {
                server
                    .post(&["approvals", &approval.to_string(), "decision"], &decision)
                    .await
            }
        }
    }
}
