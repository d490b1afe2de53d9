//! Carries notices to their channels: takes what is due, hands it over, says how it went. Any number may be at it at once.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use reqwest::Client;
use serde_json::Value;
use tidegate_engine::clock;
use tidegate_engine::plugin::chain;
use tidegate_engine::store::notices::Parcel;
use tidegate_engine::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::{Channel, Channels, Letter, email, webhook};

/// Pause between looks.
const EVERY: Duration = Duration::from_secs(2);
/// Pause between looks of a courier that knows no channel: what it finds, nobody delivers.
const IDLE: Duration = Duration::from_secs(60);
/// How often the channels are made known.
const KNOWN: Duration = Duration::from_secs(3600);
/// Notices taken at once.
const AT_ONCE: i64 = 10;

/// A courier.
pub struct Courier {
    store: Store,
    channels: Channels,
    /// Where people reach the pages.
    base: Option<String>,
    client: Client,
}

/// Makes the channels known and carries notices until `stop`.
pub async fn run(courier: Courier, stop: CancellationToken) {
    let mut known: Option<std::time::Instant> = None;
    while !stop.is_cancelled() {
        if known.is_none_or(|at| at.elapsed() > KNOWN) {
            match courier.enroll().await {
                Ok(()) => known = Some(clock::monotonic()),
                Err(error) => tracing::warn!(error = chain(&error), "the channels could not be made known"),
            }
        }
        let done = courier.tick(clock::now()).await;
        let pause = match done {
            Ok(0) if courier.channels.is_empty() => IDLE,
            Ok(count) if count as i64 == AT_ONCE => Duration::ZERO,
            Ok(_) => EVERY,
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "notices cannot be delivered now; trying again"
                );
                EVERY
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = clock::sleep(pause.mul_f64(0.75 + clock::random() / 2.0)) => {}
        }
    }
}

impl Courier {
    /// A courier that has carried nothing yet.
    pub fn new(store: Store, channels: Channels, base: Option<String>) -> Result<Self, reqwest::Error> {
        Ok(Self {
            store,
            channels,
            base,
            client: webhook::client()?,
        })
    }

    /// Makes its channels known to those who apply flows and to tasks.
    pub async fn enroll(&self) -> Result<(), StoreError> {
        let channels: Vec<_> = self
            .channels
            .iter()
            .map(|(name, channel)| (name.clone(), channel.kind()))
            .collect();
        self.store.enroll_channels(&channels).await
    }

    /// Carries what is due at `now`; answers how many it took.
    pub async fn tick(&self, now: Timestamp) -> Result<usize, StoreError> {
        let parcels = self.store.take_notices(AT_ONCE, now).await?;
        let carried = join_all(parcels.iter().map(|parcel| self.carry(parcel, now))).await;
        carried.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(parcels.len())
    }

    async fn carry(&self, parcel: &Parcel, now: Timestamp) -> Result<(), StoreError> {
        let failed = match self.channels.get(&parcel.channel) {
            Some(channel) => {
                let letter = self.letter(parcel, now).await?;
                self.hand_over(channel, (&letter, now)).await.err()
            }
            None => Some(format!(
                "there is no [channels.{}] in tidegate.toml",
                parcel.channel
            )),
        };
        if let Some(why) = &failed {
            tracing::warn!(channel = parcel.channel, notice = %parcel.id, tries = parcel.tries, why, "a notice was not delivered");
        }
        self.store.settle_notice(parcel, failed, now).await
    }

    async fn letter(&self, parcel: &Parcel, now: Timestamp) -> Result<Letter, StoreError> {
        let run = self.store.run(parcel.run, now).await?;
        let run = run.ok_or_else(|| StoreError::Broken(format!("run {} is gone", parcel.run)))?;
        let approval = parcel
            .body
            .get("approval")
            .and_then(Value::as_str)
            .and_then(|id| id.parse().ok());
        let approval = match approval {
            Some(id) => self.store.approval(id).await?,
            None => None,
        };
        Ok(Letter::new(
            parcel,
            (&run, approval.as_ref()),
            self.base.as_deref(),
        ))
    }

    async fn hand_over(&self, channel: &Channel, (letter, now): (&Letter, Timestamp)) -> Result<(), String> {
        match channel {
            Channel::Slack(slack) => webhook::slack(&self.client, slack, letter).await,
            Channel::Webhook(hook) => webhook::signed(&self.client, (hook, now.as_second()), letter).await,
            Channel::Email(mail) => email::send(mail, letter).await,
        }
    }
}
