//! A stream of server-sent events that survives its connection: it comes back where it was, by `Last-Event-ID`.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::{Method, StatusCode, header};
use tidegate_engine::clock;

use super::{Client, problem};
use crate::failure::Failure;

/// Pause before a connection that was lost is made anew.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a server that went away is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Keep-alives come every 15 s; without one for so long the connection is dead.
const SILENCE: Duration = Duration::from_secs(45);

/// A message of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// `event`, `lines`.
    pub kind: String,
    /// JSON.
    pub data: String,
}

type Bytes = BoxStream<'static, reqwest::Result<Vec<u8>>>;

/// Messages of one run.
pub struct Stream {
    client: Client,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    last: Option<String>,
    open: Option<Bytes>,
    parser: Parser,
    ended: bool,
}

impl Stream {
    /// Nothing is asked yet.
    pub fn new(client: &Client, path: &[&str], query: Vec<(&'static str, String)>) -> Self {
        Self {
            client: client.clone(),
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            query,
            last: None,
            open: None,
            parser: Parser::default(),
            ended: false,
        }
    }

    /// What comes next; `None`: nothing will any more. Safe to drop while it waits: no message is lost.
    pub async fn next(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            if let Some((id, message)) = self.parser.take() {
                self.last = id.or(self.last.take());
                if message.kind != "end" {
                    return Ok(Some(message));
                }
                self.ended = true;
            }
            if self.ended {
                return Ok(None);
            }
            self.read_on().await?;
        }
    }

    /// Passes over what came already, but for the end.
    pub fn skip(&mut self) {
        while let Some((id, message)) = self.parser.take() {
            self.last = id.or(self.last.take());
            self.ended |= message.kind == "end";
        }
    }

    /// Reads a piece, after connecting where there is no connection.
    async fn read_on(&mut self) -> Result<(), Failure> {
        let Some(open) = &mut self.open else {
            return self.connect().await;
        };
        match tokio::time::timeout(SILENCE, open.next()).await {
            Ok(Some(Ok(bytes))) => self.parser.feed(&bytes),
            // Broken off, or silent: what was half there comes again.
            _ => {
                self.open = None;
                self.parser = Parser::default();
                clock::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Connects; a server that is away for a while is waited for.
    async fn connect(&mut self) -> Result<(), Failure> {
        let began = clock::monotonic();
        loop {
            match self.ask().await {
                Err(failure) if failure.is_unreachable() && clock::monotonic() - began < PATIENCE => {
                    clock::sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }

    async fn ask(&mut self) -> Result<(), Failure> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let mut request = self
            .client
            .unbounded(Method::GET, &path)
            .query(&self.query)
            .header(header::ACCEPT, "text/event-stream");
        if let Some(last) = &self.last {
            request = request.header("last-event-id", last);
        }
        let sent = tokio::time::timeout(super::ANSWER, self.client.send(request)).await;
        let response = sent.map_err(|_| problem::silent(self.client.address()))??;
        if response.status() == StatusCode::NO_CONTENT {
            self.ended = true;
            return Ok(());
        }
        self.open = Some(
            response
                .bytes_stream()
                .map(|piece| piece.map(|bytes| bytes.to_vec()))
                .boxed(),
        );
        Ok(())
    }
}

/// Cuts bytes into messages.
#[derive(Default)]
struct Parser {
    rest: Vec<u8>,
    ready: std::collections::VecDeque<(Option<String>, Message)>,
    message: Message,
    id: Option<String>,
}

impl Parser {
    fn take(&mut self) -> Option<(Option<String>, Message)> {
        self.ready.pop_front()
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            self.line(line.trim_end_matches(['\r', '\n']));
        }
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            let id = self.id.take();
            if !message.data.is_empty() {
                self.ready.push_back((id, message));
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.message.kind),
            "id" => self.id = Some(value.to_owned()),
            "data" => {
                if !self.message.data.is_empty() {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
            }
            // Comments keep the connection alive.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_put_together_from_whatever_pieces_they_come_in() {
        let text = ": hello\n\nevent: event\nid: 7\ndata: {\"a\":\ndata: 1}\n\nevent: end\r\ndata: {}\r\n\r\nevent: half\ndata: x\n";
        for size in [1, 3, text.len()] {
            let mut parser = Parser::default();
            for piece in text.as_bytes().chunks(size) {
                parser.feed(piece);
            }
            let first = Message {
                kind: "event".to_owned(),
                data: "{\"a\":\n1}".to_owned(),
            };
            assert_eq!(
                parser.take(),
                Some((Some("7".to_owned()), first)),
                "in pieces of {size}"
            );
            let last = parser.take().map(|(id, message)| (id, message.kind));
            assert_eq!(last, Some((None, "end".to_owned())));
            assert_eq!(parser.take(), None, "what is half there is no message");
        }
    }
}
