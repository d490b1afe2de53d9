//! What a program prints, line by line, with secrets hidden.

use std::sync::Mutex;

use tidegate_engine::mask::Mask;
use tidegate_engine::plugin::{Ctx, Level};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line that is kept, in bytes.
const CAP: usize = 64 << 10;

/// Writes a program's output to the task's log.
pub struct Log {
    ctx: Ctx,
    /// What must not be seen.
    pub mask: Mask,
    last: Mutex<Option<String>>,
}

impl Log {
    /// A log that has seen nothing.
    pub fn new(ctx: Ctx, mask: Mask) -> Self {
        Self {
            ctx,
            mask,
            last: Mutex::new(None),
        }
    }

    /// The last line that was not empty.
    pub fn last_line(&self) -> Option<String> {
        self.last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Reads a pipe to its end.
    pub async fn pump(self: std::sync::Arc<Self>, mut pipe: impl AsyncRead + Unpin, level: Level) {
        let (mut flow, mut lines) = (self.mask.flow(), Lines::default());
        let mut chunk = vec![0; 32 << 10];
        loop {
            match pipe.read(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(count) => lines.feed(&flow.feed(&chunk[..count]), &mut |text| self.line(level, text)),
            }
            tokio::task::yield_now().await;
        }
        lines.feed(&flow.end(), &mut |text| self.line(level, text));
        lines.end(&mut |text| self.line(level, text));
    }

    fn line(&self, level: Level, text: &str) {
        if !text.trim().is_empty() {
            *self
                .last
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(text.to_owned());
        }
        self.ctx.log(level, text);
    }
}

/// Cuts bytes into lines. What a carriage return overwrites is left out, so that a progress bar is one line.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    dropped: usize,
    returned: bool,
}

impl Lines {
    /// Takes bytes; calls `emit` with each line that is complete.
    pub fn feed(&mut self, bytes: &[u8], emit: &mut impl FnMut(&str)) {
        for byte in bytes {
            match byte {
                b'\n' => self.flush(emit),
                b'\r' => self.returned = true,
                byte => self.push(*byte),
            }
        }
    }

    fn push(&mut self, byte: u8) {
        if self.returned {
            self.line.clear();
            self.dropped = 0;
            self.returned = false;
        }
        if self.line.len() < CAP {
            self.line.push(byte);
        } else {
            self.dropped += 1;
        }
    }

    /// Calls `emit` with what has no newline at its end.
    pub fn end(&mut self, emit: &mut impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.flush(emit);
        }
    }

    fn flush(&mut self, emit: &mut impl FnMut(&str)) {
        let mut text = String::from_utf8_lossy(&self.line).into_owned();
        if self.dropped > 0 {
            text.push_str(&format!(" … ({} bytes more)", self.dropped));
        }
        emit(&text);
        self.line.clear();
        self.dropped = 0;
        self.returned = false;
    }
}
