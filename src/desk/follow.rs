//! Following a run, both ways: looked at again and again where its rows are, told by a stream where a server is.

use std::time::Duration;

use tidegate_engine::clock;
use tidegate_engine::id::RunId;
use tidegate_engine::store::Store;
use tidegate_engine::store::read::LogCursor;
use tidegate_engine::view::LogLine;

use super::Desk;
use crate::client::Stream;
use crate::failure::Failure;
use crate::watch::exit_code;

/// How often a run is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long after a change it is waited for what else comes with it.
const GATHER: Duration = Duration::from_millis(100);
/// Lines that are read at once.
const LINES: usize = 1000;

impl Desk {
    /// Tells when the run may have changed.
    pub fn changes(&self, run: RunId) -> Changes {
        match self {
            Self::Here(_) => Changes::Looked,
            Self::Server(server) => {
                let path = ["runs", &run.to_string(), "events"];
                Changes::Told {
                    stream: Box::new(Stream::new(server, &path, Vec::new())),
                    news: false,
                }
            }
        }
    }

    /// All lines that a run, or one task of it, has printed so far.
    pub async fn lines(&self, run: RunId, task: Option<&str>) -> Result<Vec<LogLine>, Failure> {
        match self {
            Self::Here(here) => Reader::new(&here.store, run, task).read().await,
            Self::Server(server) => {
                let query: Vec<_> = task.map(|task| ("task", task.to_owned())).into_iter().collect();
                server.all(&["runs", &run.to_string(), "logs"], &query).await
            }
        }
    }

    /// The lines of a run as they come, from the first.
    pub fn tail(&self, run: RunId, task: Option<&str>) -> Tail {
        match self {
            Self::Here(here) => Tail::Read(Reader::new(&here.store, run, task)),
            Self::Server(server) => {
                let query: Vec<_> = task.map(|task| ("task", task.to_owned())).into_iter().collect();
                let path = ["runs", &run.to_string(), "logs"];
                Tail::Told(Box::new(Stream::new(server, &path, query)))
            }
        }
    }
}

/// When a run may have changed.
pub enum Changes {
    /// Nobody tells.
    Looked,
    /// A stream of its events; `news`: one came, and nobody has looked since.
    Told {
        /// The stream.
        stream: Box<Stream>,
        /// Outlives a wait that is given up.
        news: bool,
    },
}

impl Changes {
    /// Waits until it is worth to look. Safe to give up while it waits: no change is lost.
    pub async fn next(&mut self) -> Result<(), Failure> {
        let Self::Told { stream, news } = self else {
            clock::sleep(LOOK).await;
            return Ok(());
        };
        if !*news {
            *news = stream.next().await?.is_some();
        }
        if !*news {
            // It is over, which whoever looks sees.
            clock::sleep(LOOK).await;
            return Ok(());
        }
        clock::sleep(GATHER).await;
        stream.skip();
        *news = false;
        Ok(())
    }
}

/// The lines of a run as they come.
pub enum Tail {
    /// Read from the database.
    Read(Reader),
    /// A stream of them.
    Told(Box<Stream>),
}

impl Tail {
    /// What comes next; `None`: nothing will any more.
    pub async fn next(&mut self) -> Result<Option<Vec<LogLine>>, Failure> {
        let stream = match self {
            Self::Read(reader) => return reader.next().await,
            Self::Told(stream) => stream,
        };
        let Some(message) = stream.next().await? else {
            return Ok(None);
        };
        let lines = serde_json::from_str(&message.data);
        lines
            .map(Some)
            .map_err(|error| Failure::unreachable(format!("the server sent no lines: {error}")))
    }
}

/// Reads lines, each once.
pub struct Reader {
    store: Store,
    run: RunId,
    task: Option<String>,
    cursor: LogCursor,
    over: bool,
}

impl Reader {
    fn new(store: &Store, run: RunId, task: Option<&str>) -> Self {
        Self {
            store: store.clone(),
            run,
            task: task.map(str::to_owned),
            cursor: LogCursor::default(),
            over: false,
        }
    }

    /// All lines that were not read yet.
    async fn read(&mut self) -> Result<Vec<LogLine>, Failure> {
        let mut all = Vec::new();
        loop {
            let page = (&mut self.cursor, LINES);
            let lines = self.store.log_lines(self.run, self.task.as_deref(), page).await?;
            let full = lines.len() >= LINES;
            all.extend(lines);
            if !full {
                return Ok(all);
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<LogLine>>, Failure> {
        while !self.over {
            // The state is read before the lines: what an ended run printed is all there by then.
            let run = self.store.run_called(&self.run.to_string(), clock::now()).await?;
            self.over = exit_code(&run.summary.state).is_some();
            let lines = self.read().await?;
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            if !self.over {
                clock::sleep(LOOK).await;
            }
        }
        Ok(None)
    }
}
