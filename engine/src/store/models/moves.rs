//! Moving an alias: begin, finish, abandon.

use jiff::Timestamp;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::basis::{Basis, moved};
use super::{check_name, lock_model, refused, version_of};
use crate::id::{Epoch, RunId, TaskIdx};
use crate::plugin::{AliasMove, HostError, ModelVersion, MoveTicket};
use crate::store::leases::{Holder, fence};
use crate::store::ledger;
use crate::store::{Result, Store, pg};

impl Store {
    /// Takes an alias's lock for an attempt, when the alias points to `wanted.from`.
    ///
    /// `Stale`; `WorldMoved` when it points elsewhere, or did when people approved; `Busy` while another living attempt
    /// holds the lock. A task run that made the move before gets the ticket of then, with `done_before`.
    pub async fn begin_move(&self, holder: Holder, wanted: AliasMove) -> Result<MoveTicket> {
        self.transact(move |conn| {
            let wanted = wanted.clone();
            Box::pin(async move { begin(conn, holder, wanted).await })
        })
        .await
    }

    /// Commits a move that was begun: alias, `previous`, history, ledger, and the lock's end, in one transaction. A repeat
    /// after a lost reply gets the same answer.
    pub async fn finish_move(
        &self,
        holder: Holder,
        wanted: AliasMove,
        now: Timestamp,
    ) -> Result<ModelVersion> {
        self.transact(move |conn| {
            let wanted = wanted.clone();
            Box::pin(async move { finish(conn, holder, &wanted, now).await })
        })
        .await
    }

    /// Gives an alias's lock back; nothing moved.
    pub async fn abandon_move(&self, holder: Holder, wanted: AliasMove) -> Result<()> {
        self.transact(move |conn| {
            let wanted = wanted.clone();
            Box::pin(async move {
                fence(conn, holder).await?;
                lock_model(conn, &wanted.model).await?;
                unlock(conn, holder, &wanted).await
            })
        })
        .await
    }
}

async fn begin(conn: &mut PgConnection, holder: Holder, wanted: AliasMove) -> Result<MoveTicket> {
    check_name("an alias", &wanted.alias)?;
    if wanted.alias == "previous" {
        return refused("the alias `previous` follows the others by itself".to_owned());
    }
    fence(conn, holder).await?;
    let basis = Basis::load(conn, holder).await?;
    lock_model(conn, &wanted.model).await?;
    let alias = Alias::load(conn, &wanted).await?;
    if alias.held_by_another(holder) {
        let AliasMove { model, alias, .. } = wanted;
        return Err(HostError::Busy { model, alias }.into());
    }
    if let Some(before) = done(conn, (holder, basis.approval()), &wanted).await? {
        // Moved on by somebody since: repairing the outside would undo that. Else it is repaired under the lock.
        alias.must_point_to(Some(before.to), &wanted)?;
        set_lock(conn, holder, &wanted).await?;
        return Ok(MoveTicket {
            wanted: before,
            done_before: true,
        });
    }
    check_version(conn, &wanted).await?;
    alias.must_point_to(wanted.from, &wanted)?;
    basis.must_have_shown(&wanted)?;
    set_lock(conn, holder, &wanted).await?;
    Ok(MoveTicket {
        wanted,
        done_before: false,
    })
}

async fn finish(
    conn: &mut PgConnection,
    holder: Holder,
    wanted: &AliasMove,
    now: Timestamp,
) -> Result<ModelVersion> {
    fence(conn, holder).await?;
    let basis = Basis::load(conn, holder).await?;
    lock_model(conn, &wanted.model).await?;
    let version = check_version(conn, wanted).await?;
    let before = done(conn, (holder, basis.approval()), wanted).await?;
    if before.as_ref() == Some(wanted) {
        return Ok(version);
    }
    let alias = Alias::load(conn, wanted).await?;
    if before.is_some() || !alias.is_held_by(holder) {
        return refused(format!(
            "this attempt does not hold the lock on {}@{}; begin the move first",
            wanted.model, wanted.alias
        ));
    }
    alias.must_point_to(wanted.from, wanted)?;
    basis.must_have_shown(wanted)?;
    if wanted.from != Some(wanted.to) {
        point(conn, (wanted, &wanted.alias, wanted.to), now).await?;
        if let Some(from) = wanted.from {
            point(conn, (wanted, "previous", from), now).await?;
        }
        record(conn, (holder, wanted, &basis), now).await?;
    }
    unlock(conn, holder, wanted).await?;
    if wanted.from != Some(wanted.to) {
        ledger::append(conn, basis.entry(holder, wanted), now).await?;
    }
    Ok(version)
}

/// The row of an alias, and who holds its lock.
#[derive(Debug, Default)]
struct Alias {
    version: Option<i64>,
    lock: Option<Lock>,
}

#[derive(Debug)]
struct Lock {
    holder: Holder,
    /// The lease of its attempt still runs.
    alive: bool,
}

impl Alias {
    /// Reads it under the model's lock.
    async fn load(conn: &mut PgConnection, wanted: &AliasMove) -> Result<Self> {
        let row = sqlx::query(
            "select a.version, a.lock_run, a.lock_idx, a.lock_epoch, l.run is not null as alive
             from model_alias a left join lease l on l.run = a.lock_run and l.idx = a.lock_idx
               and l.epoch = a.lock_epoch and l.until > clock_timestamp()
             where a.model = $1 and a.alias = $2",
        )
        .bind(&wanted.model)
        .bind(&wanted.alias)
        .fetch_optional(conn)
        .await?;
        let Some(row) = row else {
            return Ok(Self::default());
        };
        let holder = (
            row.try_get::<Option<Uuid>, _>("lock_run")?,
            row.try_get::<Option<i32>, _>("lock_idx")?,
            row.try_get::<Option<Epoch>, _>("lock_epoch")?,
        );
        let alive = row.try_get("alive")?;
        let lock = match holder {
            (Some(run), Some(idx), Some(epoch)) => Some(Lock {
                holder: Holder {
                    run: RunId(run),
                    idx: idx as TaskIdx,
                    epoch,
                },
                alive,
            }),
            _ => None,
        };
        Ok(Self {
            version: row.try_get("version")?,
            lock,
        })
    }

    fn is_held_by(&self, holder: Holder) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.holder == holder)
    }

    fn held_by_another(&self, holder: Holder) -> bool {
        self.lock
            .as_ref()
            .is_some_and(|lock| lock.alive && lock.holder != holder)
    }

    fn must_point_to(&self, expected: Option<i64>, wanted: &AliasMove) -> Result<()> {
        if self.version == expected {
            return Ok(());
        }
        Err(moved(wanted, expected, self.version))
    }
}

/// The move that this task run made on the same approval, if it did.
async fn done(
    conn: &mut PgConnection,
    (holder, approval): (Holder, Option<Uuid>),
    wanted: &AliasMove,
) -> Result<Option<AliasMove>> {
    let row: Option<(Option<i64>, i64)> = sqlx::query_as(
        "select before, version from alias_move
         where run = $1 and idx = $2 and model = $3 and alias = $4 and approval is not distinct from $5",
    )
    .bind(holder.run.0)
    .bind(holder.idx as i32)
    .bind(&wanted.model)
    .bind(&wanted.alias)
    .bind(approval)
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|(from, to)| AliasMove {
        from,
        to,
        ..wanted.clone()
    }))
}

async fn check_version(conn: &mut PgConnection, wanted: &AliasMove) -> Result<ModelVersion> {
    match version_of(conn, &wanted.model, wanted.to).await? {
        Some(version) => Ok(version),
        None => refused(format!("{} has no version {}", wanted.model, wanted.to)),
    }
}

async fn set_lock(conn: &mut PgConnection, holder: Holder, wanted: &AliasMove) -> Result<()> {
    sqlx::query(
        "insert into model_alias (model, alias, lock_run, lock_idx, lock_epoch) values ($1, $2, $3, $4, $5)
         on conflict (model, alias) do update set lock_run = $3, lock_idx = $4, lock_epoch = $5",
    )
    .bind(&wanted.model)
    .bind(&wanted.alias)
    .bind(holder.run.0)
    .bind(holder.idx as i32)
    .bind(holder.epoch)
    .execute(conn)
    .await?;
    Ok(())
}

/// Frees the lock where the attempt holds it; an alias that was never set goes with it.
async fn unlock(conn: &mut PgConnection, holder: Holder, wanted: &AliasMove) -> Result<()> {
    sqlx::query(
        "update model_alias set lock_run = null, lock_idx = null, lock_epoch = null
         where model = $1 and alias = $2 and lock_run = $3 and lock_idx = $4 and lock_epoch = $5",
    )
    .bind(&wanted.model)
    .bind(&wanted.alias)
    .bind(holder.run.0)
    .bind(holder.idx as i32)
    .bind(holder.epoch)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "delete from model_alias where model = $1 and alias = $2 and version is null and lock_run is null",
    )
    .bind(&wanted.model)
    .bind(&wanted.alias)
    .execute(conn)
    .await?;
    Ok(())
}

async fn point(
    conn: &mut PgConnection,
    (wanted, alias, version): (&AliasMove, &str, i64),
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "insert into model_alias (model, alias, version, moved_at) values ($1, $2, $3, $4)
         on conflict (model, alias) do update set version = $3, moved_at = $4",
    )
    .bind(&wanted.model)
    .bind(alias)
    .bind(version)
    .bind(pg(now))
    .execute(conn)
    .await?;
    Ok(())
}

async fn record(
    conn: &mut PgConnection,
    (holder, wanted, basis): (Holder, &AliasMove, &Basis),
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "insert into alias_move (model, alias, number, version, before, at, actor, run, idx, approval)
         select $1, $2, coalesce(max(number), 0) + 1, $3, $4, $5, $6, $7, $8, $9
         from alias_move where model = $1 and alias = $2",
    )
    .bind(&wanted.model)
    .bind(&wanted.alias)
    .bind(wanted.to)
    .bind(wanted.from)
    .bind(pg(now))
    .bind(basis.actor())
    .bind(holder.run.0)
    .bind(holder.idx as i32)
    .bind(basis.approval())
    .execute(conn)
    .await?;
    Ok(())
}
