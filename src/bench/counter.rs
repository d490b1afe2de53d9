//! Counts round trips: stands between the servers of a workload and PostgreSQL, for once that is not timed.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;
use url::Url;

/// A listener that passes everything on.
pub struct Counter {
    /// Address of the database by way of it.
    pub url: String,
    count: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Counter {
    /// Listens on a port of this machine.
    pub async fn start(database: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let behind = Behind::of(database)?;
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (behind, counted) = (behind.clone(), Arc::clone(&counted));
                // A connection that breaks is told by whoever held it.
                tokio::spawn(async move { pass_on(client, &behind, &counted).await });
            }
        });
        Ok(Self {
            url: by_way_of(database, port)?,
            count,
            accepting,
        })
    }

    /// Round trips so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn by_way_of(database: &str, port: u16) -> Result<String> {
    let url = Url::parse(database).context("the database's address cannot be read")?;
    let password = url
        .password()
        .map(|password| format!(":{password}"))
        .unwrap_or_default();
    let (user, path) = (url.username(), url.path());
    Ok(format!(
        "postgres://{user}{password}@127.0.0.1:{port}{path}?sslmode=disable"
    ))
}

/// Where PostgreSQL listens.
#[derive(Clone)]
enum Behind {
    Socket(PathBuf),
    Port(String),
}

impl Behind {
    fn of(database: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(database)?;
        let (host, port) = (options.get_host(), options.get_port());
        let folder = options.get_socket().map(PathBuf::from);
        let folder = folder.or_else(|| host.starts_with('/').then(|| PathBuf::from(host)));
        Ok(match folder {
            Some(folder) => Self::Socket(folder.join(format!(".s.PGSQL.{port}"))),
            None => Self::Port(format!("{host}:{port}")),
        })
    }
}

async fn pass_on(client: TcpStream, behind: &Behind, count: &AtomicU64) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let (from, to) = client.into_split();
    match behind {
        Behind::Socket(path) => {
            let (answers, questions) = UnixStream::connect(path).await?.into_split();
            both((from, questions), (answers, to), count).await
        }
        Behind::Port(address) => {
            let (answers, questions) = TcpStream::connect(address).await?.into_split();
            both((from, questions), (answers, to), count).await
        }
    }
}

async fn both(
    (mut from, mut questions): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    (mut answers, mut to): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    count: &AtomicU64,
) -> std::io::Result<()> {
    let there = async {
        let (mut messages, mut buffer) = (Messages::default(), vec![0; 1 << 16]);
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return questions.shutdown().await;
            }
            count.fetch_add(messages.take_in(&buffer[..read]), Ordering::Relaxed);
            questions.write_all(&buffer[..read]).await?;
        }
    };
    let back = tokio::io::copy(&mut answers, &mut to);
    tokio::select! {
        there = there => there,
        back = back => back.map(drop),
    }
}

/// The messages of a client: the first has no type, the others a letter; then follows their length.
#[derive(Default)]
struct Messages {
    head: Vec<u8>,
    skip: usize,
    greeted: bool,
}

impl Messages {
    /// How many of them ask for an answer: Sync, and Query.
    fn take_in(&mut self, mut bytes: &[u8]) -> u64 {
        let mut asked = 0;
        while let Some((first, rest)) = bytes.split_first() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            let letter = usize::from(self.greeted);
            if let Some(length) = self.head[letter.min(self.head.len())..].first_chunk::<4>() {
                self.skip = (u32::from_be_bytes(*length) as usize).saturating_sub(4);
                asked += u64::from(self.greeted && matches!(self.head[0], b'S' | b'Q'));
                self.greeted = true;
                self.head.clear();
            }
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_counted_however_they_are_cut() {
        let mut bytes = vec![0, 0, 0, 8, 0, 3, 0, 0];
        bytes.extend([b'P', 0, 0, 0, 6, b'x', b'S']);
        bytes.extend([b'S', 0, 0, 0, 4]);
        bytes.extend([b'Q', 0, 0, 0, 6, b';', 0]);
        assert_eq!(Messages::default().take_in(&bytes), 2);
        let mut messages = Messages::default();
        assert_eq!(
            bytes.iter().map(|byte| messages.take_in(&[*byte])).sum::<u64>(),
            2
        );
    }
}
