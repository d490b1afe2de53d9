//! Flows, and what makes runs of them.

use jiff::SignedDuration;
use serde_json::json;
use tidegate_engine::command::{self, GateTrial, Submission, SubmittedFlow};
use tidegate_engine::id::RunId;
use tidegate_engine::spec::{Checked, SourceFile};
use tidegate_engine::store::backfills::Backfill;
use tidegate_engine::store::flows::NewVersion;
use tidegate_engine::view::{BackfillTick, FlowChange, FlowDetail, FlowSummary, Page, Schedule, Trial};
use tidegate_engine::{clock, spec};

use super::Desk;
use crate::cli::Ready;
use crate::client::nothing;
use crate::config::Config;
use crate::failure::Failure;
use crate::lacking;

impl Desk {
    /// All flows, by name.
    pub async fn flows(&self) -> Result<Vec<FlowSummary>, Failure> {
        match self {
            Self::Here(here) => Ok(here.store.flows(clock::now()).await?),
            Self::Server(server) => server.all(&["flows"], &[]).await,
        }
    }

    /// A flow's current version; refused, with the nearest name, where there is none.
    pub async fn flow(&self, name: &str) -> Result<FlowDetail, Failure> {
        let found = match self {
            Self::Here(here) => {
                let found = here.store.flow(name, clock::now()).await?;
                found.map(|(summary, flow)| FlowDetail::new(summary, &flow))
            }
            Self::Server(server) => server.find(&["flows", name]).await?,
        };
        match found {
            Some(flow) => Ok(flow),
            None => Err(self.no_flow(name).await),
        }
    }

    /// The flow as a run has it.
    pub async fn flow_of_run(&self, run: RunId) -> Result<FlowDetail, Failure> {
        let found = match self {
            Self::Here(here) => here.store.flow_detail_of_run(run, clock::now()).await?,
            Self::Server(server) => server.find(&["runs", &run.to_string(), "flow"]).await?,
        };
        found.ok_or_else(|| Failure::refused(format!("no run `{run}`, or its flow was removed")))
    }

    /// Makes flow files current, all of them or none.
    pub async fn apply(&self, ready: Ready, prune: bool) -> Result<Vec<FlowChange>, Failure> {
        match self {
            Self::Here(here) => {
                let versions = ready
                    .flows
                    .into_iter()
                    .map(|flow| version(flow, &here.actor.name))
                    .collect();
                let asked = (versions, prune);
                Ok(command::apply_all(&here.store, &here.actor, asked, clock::now()).await?)
            }
            Self::Server(server) => {
                let changes: Page<FlowChange> = server.post(&["flows"], &submission(ready, prune)).await?;
                Ok(changes.items)
            }
        }
    }

    async fn no_flow(&self, name: &str) -> Failure {
        let flows = self.flows().await.unwrap_or_default();
        let help = spec::suggest(name, "there are", flows.iter().map(|flow| flow.name.as_str()));
        let failure = Failure::refused(format!("no flow `{name}`"));
        failure.help(help.unwrap_or_else(|| "none was applied yet; see `tidegate apply`".to_owned()))
    }

    /// Warns of what a flow needs and does not find; a server that finds it lacking says so in the run.
    pub async fn warn_of_lacking(&self, name: &str, config: &Config) -> Result<(), Failure> {
        if let Self::Here(here) = self
            && let Some((_, flow)) = here.store.flow(name, clock::now()).await?
        {
            lacking::warn_of(&here.store, config, &flow).await?;
        }
        Ok(())
    }

    /// All schedules, with their next fires.
    pub async fn schedules(&self) -> Result<Vec<Schedule>, Failure> {
        match self {
            Self::Here(here) => Ok(here.store.schedules(clock::now()).await?),
            Self::Server(server) => server.all(&["schedules"], &[]).await,
        }
    }

    /// Lets a schedule fire no more, or again; answers it as it is then.
    pub async fn pause_schedule(
        &self,
        (flow, name): (&str, &str),
        paused: bool,
    ) -> Result<Schedule, Failure> {
        let here = match self {
            Self::Here(here) => here,
            Self::Server(server) => {
                let verb = if paused { "pause" } else { "resume" };
                return server.post(&["schedules", flow, name, verb], &nothing()).await;
            }
        };
        let now = clock::now();
        command::pause_schedule(&here.store, &here.actor, ((flow, name), paused), now).await?;
        let all = here.store.schedules(now).await?;
        let found = all
            .into_iter()
            .find(|schedule| schedule.flow == flow && schedule.name == name);
        found.ok_or_else(|| Failure::refused(format!("flow `{flow}` has no schedule `{name}` any more")))
    }

    /// What the newest runs would have come to at a gate under another rule.
    pub async fn try_gate(&self, gate: (&str, &str), asked: GateTrial) -> Result<Vec<Trial>, Failure> {
        let server = match self {
            Self::Here(here) => return Ok(command::try_gate(&here.store, (gate, asked), clock::now()).await?),
            Self::Server(server) => server,
        };
        let mut query = vec![("set", asked.changes.join(",")), ("last", asked.last.to_string())];
        query.extend(asked.rule.map(|rule| ("rule", rule.to_string())));
        let trials: Page<Trial> = server
            .get(&["flows", gate.0, "gates", gate.1, "trial"], &query)
            .await?;
        Ok(trials.items)
    }

    /// Makes runs of past ticks that have none, or says which.
    pub async fn backfill(&self, wanted: Backfill, dry_run: bool) -> Result<Vec<BackfillTick>, Failure> {
        let server = match self {
            Self::Here(here) => {
                let asked = (wanted, dry_run);
                return Ok(command::backfill(&here.store, &here.actor, asked, clock::now()).await?);
            }
            Self::Server(server) => server,
        };
        let from = wanted.after.saturating_add(SignedDuration::from_nanos(1));
        let body = json!({
            "from": from.unwrap_or(wanted.after), "to": wanted.to, "schedule": wanted.schedule,
            "max_active": wanted.max_active, "dry_run": dry_run,
        });
        let ticks: Page<BackfillTick> = server.post(&["flows", &wanted.flow, "backfill"], &body).await?;
        Ok(ticks.items)
    }
}

fn version((source, checked): (SourceFile, Checked), actor: &str) -> NewVersion {
    NewVersion {
        flow: checked.flow,
        hash: checked.version,
        path: source.path,
        source: source.text,
        actor: actor.to_owned(),
    }
}

fn submission(ready: Ready, prune: bool) -> Submission {
    let submitted = |(source, _): (SourceFile, Checked)| SubmittedFlow {
        path: source.path,
        source: source.text,
        files: source
            .files
            .into_iter()
            .filter_map(|(path, text)| Some((path, text.ok()?)))
            .collect(),
    };
    Submission {
        flows: ready.flows.into_iter().map(submitted).collect(),
        variables: ready.variables,
        prune,
    }
}
