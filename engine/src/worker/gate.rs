//! The gate of an attempt: judge its rules, ask people, and see that what they decided on still holds.
//!
//! ```text
//! rules ─ one fails ──────► rejected
//!   ├──── all pass ───────► note it ───────────────────────────► run
//!   └──── people decide ─┬─ not yet opened ─► preview ─► freeze the evidence ─► ask
//!                        └─ opened ─► preview ─┬─ another world ─► ask anew
//!                                              └─ the same ────► run ─ WorldMoved ─► ask anew
//! ```
//!
//! An attempt that asks ends: while people think, the task run holds no slot and no lease.

use super::attempt::{Attempting, End, Prepared};
use super::finisher;
use crate::canonical;
use crate::clock;
use crate::gate::{ApprovalSpec, Evidence, Gate, JudgedRule, Opening};
use crate::plugin::{Preview, TaskError};
use crate::store::approvals::{Ask, Reached};
use crate::store::{StoreError, clean, clean_text};
use crate::template;

/// Brings an attempt through its gate, and to its end.
pub(super) async fn pass(attempting: &Attempting<'_>, gate: &Gate) -> Result<End, TaskError> {
    let rules = gate.judge(&attempting.scope);
    let judgements: Vec<_> = rules.iter().map(|judged| judged.judgement.clone()).collect();
    match Opening::decide(gate, &judgements) {
        Opening::Rejected { why } => {
            let reached = Reached { rules, ask: None };
            Ok(End::Gate(Box::new(reached), why))
        }
        Opening::Opens => {
            let (store, claim) = (&attempting.shared.store, attempting.claim);
            let noted = store.note_open_gate(claim, &rules, clock::now()).await;
            noted.map_err(trouble)?;
            finisher::supersede(store.clone());
            let prepared = attempting.prepare().await?;
            attempting.run(prepared).await
        }
        Opening::Asks { approval, why } => {
            let asking = Asking {
                attempting,
                gate,
                rules,
                spec: approval,
                why,
            };
            asking.pass().await
        }
    }
}

/// A gate at which people decide.
struct Asking<'a> {
    attempting: &'a Attempting<'a>,
    gate: &'a Gate,
    rules: Vec<JudgedRule>,
    spec: ApprovalSpec,
    why: Vec<String>,
}

impl Asking<'_> {
    async fn pass(self) -> Result<End, TaskError> {
        let prepared = self.attempting.prepare().await?;
        let preview = self.attempting.preview(&prepared).await?;
        if !self.is_open(&preview).await? {
            return self.ask(preview);
        }
        match self.attempting.run(prepared.clone()).await {
            Err(TaskError::WorldMoved { message }) => self.ask_anew(&prepared, message).await,
            done => done,
        }
    }

    /// Whether people have opened it, on a world that is still the same but for what this task run did to it.
    async fn is_open(&self, preview: &Preview) -> Result<bool, TaskError> {
        let Some(approval) = self.attempting.around.opened_by else {
            return Ok(false);
        };
        let opened = self.attempting.shared.store.opened_on(approval).await;
        let opened = opened.map_err(trouble)?;
        let same = canonical::text(&opened.world) == canonical::text(&clean(preview.world.clone()));
        Ok(same || opened.acted)
    }

    async fn ask_anew(mut self, prepared: &Prepared, message: String) -> Result<End, TaskError> {
        self.why.push(message);
        let preview = self.attempting.preview(prepared).await?;
        self.ask(preview)
    }

    fn ask(self, preview: Preview) -> Result<End, TaskError> {
        let scope = &self.attempting.scope;
        let message = self.spec.message.as_deref();
        let message = message.map(|text| template::render_text(text, scope)).transpose();
        let message = message.map_err(|e| TaskError::fail_chain(&e))?;
        let ask = Ask {
            id: clock::new_id(),
            evidence: self.evidence(preview),
            message: message.map(clean_text),
            spec: self.spec,
        };
        let reached = Reached {
            rules: self.rules,
            ask: Some(ask),
        };
        Ok(End::Gate(Box::new(reached), self.why))
    }

    /// The facts of this moment. A task that handed nothing on is shown as null.
    fn evidence(&self, preview: Preview) -> Evidence {
        let Attempting { claim, around, .. } = self.attempting;
        let outputs = self.gate.shown().into_iter().map(|task| {
            let outputs = around.outputs.get(task.as_str()).cloned();
            (task, outputs.unwrap_or_default())
        });
        Evidence {
            flow: claim.flow.name.clone(),
            version: around.facts.version.clone(),
            run: claim.run,
            task: claim.task().name.clone(),
            rules: self.rules.clone(),
            outputs: outputs.collect(),
            action: preview.sentence.map(clean_text),
            world: clean(preview.world),
        }
    }
}

fn trouble(error: StoreError) -> TaskError {
    TaskError::retry_chain(&error)
}
