//! Workers: who may hold leases, and when they were last heard of.

use uuid::Uuid;

use super::{Result, Store};

/// A worker as it introduces itself. Its identity is random per start: host names and process ids repeat.
#[derive(Debug, Clone)]
pub struct NewWorker {
    /// Random identity of this start.
    pub id: Uuid,
    /// Name for people: host and process id.
    pub name: String,
    /// Queues it serves.
    pub queues: Vec<String>,
    /// Attempts it runs at once.
    pub slots: u32,
}

impl Store {
    /// Notes a worker that starts.
    pub async fn enroll_worker(&self, worker: &NewWorker) -> Result<()> {
        sqlx::query(
            "insert into worker (id, name, version, queues, slots, started_at, heartbeat_at)
             values ($1, $2, $3, $4, $5, clock_timestamp(), clock_timestamp()) on conflict (id) do nothing",
        )
        .bind(worker.id)
        .bind(&worker.name)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(&worker.queues)
        .bind(worker.slots as i32)
        .execute(self.pool())
        .await?;
        Ok(())
    }

    /// Notes that a worker takes nothing any more.
    pub async fn note_draining(&self, id: Uuid) -> Result<()> {
        sqlx::query("update worker set draining_at = clock_timestamp() where id = $1")
            .bind(id)
            .execute(self.pool())
            .await?;
        Ok(())
    }

    /// Notes a worker that ended as it should.
    pub async fn dismiss_worker(&self, id: Uuid) -> Result<()> {
        sqlx::query("update worker set stopped_at = clock_timestamp() where id = $1")
            .bind(id)
            .execute(self.pool())
            .await?;
        Ok(())
    }
}
