//! What functions wrote: a bounded ring of lines a function.

use limes_core::LogStream;
use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

const MAX_LINES: usize = 4096;
const MAX_BYTES: usize = 1 << 20;
/// A longer line is cut into pieces of at most this many bytes.
const MAX_LINE: usize = 16 << 10;

/// One line a function wrote, or Limes wrote about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Counts up from 1 within the function.
    pub seq: u64,
    /// When it was written, in milliseconds since 1970.
    pub time_ms: u64,
    /// The invocation that wrote it.
    pub invocation: u64,
    /// Where it was written: `stdout`, `stderr` or `system` in JSON.
    #[serde(serialize_with = "stream_name")]
    pub stream: LogStream,
    /// The line, without its end; what is not UTF-8 is replaced.
    pub text: String,
}

fn stream_name<S: Serializer>(stream: &LogStream, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
        LogStream::System => "system",
    })
}

/// The last lines of one function: at most 4,096 and 1 MiB of text.
#[derive(Default)]
pub(crate) struct LogRing(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    lines: VecDeque<LogLine>,
    bytes: usize,
    last: u64,
}

impl LogRing {
    pub(crate) fn push(&self, invocation: u64, stream: LogStream, text: String) {
        let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64);
        let mut ring = self.0.lock();
        ring.last += 1;
        ring.bytes += text.len();
        let seq = ring.last;
        ring.lines.push_back(LogLine { seq, time_ms, invocation, stream, text });
        while ring.lines.len() > MAX_LINES || ring.bytes > MAX_BYTES {
            let Some(oldest) = ring.lines.pop_front() else { break };
            ring.bytes -= oldest.text.len();
        }
    }

    /// Pushes `text` line by line, as a whole.
    pub(crate) fn push_text(&self, invocation: u64, stream: LogStream, text: &[u8]) {
        let mut lines = Lines::default();
        lines.feed(text, &mut |line| self.push(invocation, stream, line));
        lines.flush(&mut |line| self.push(invocation, stream, line));
    }

    /// The oldest `limit` lines whose number is above `after`.
    pub(crate) fn after(&self, after: u64, limit: usize) -> Vec<LogLine> {
        let ring = self.0.lock();
        let first = ring.lines.partition_point(|line| line.seq <= after);
        ring.lines.range(first..).take(limit).cloned().collect()
    }
}

/// Cuts one stream of one invocation into lines.
#[derive(Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    pub(crate) fn feed(&mut self, mut bytes: &[u8], emit: &mut dyn FnMut(String)) {
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            self.append(&bytes[..end], emit);
            let line = std::mem::take(&mut self.0);
            emit(text(line.strip_suffix(b"\r").unwrap_or(&line)));
            bytes = &bytes[end + 1..];
        }
        self.append(bytes, emit);
    }

    pub(crate) fn flush(&mut self, emit: &mut dyn FnMut(String)) {
        if !self.0.is_empty() {
            emit(text(&std::mem::take(&mut self.0)));
        }
    }

    fn append(&mut self, mut bytes: &[u8], emit: &mut dyn FnMut(String)) {
        while self.0.len() + bytes.len() > MAX_LINE {
            let (now, later) = bytes.split_at(MAX_LINE - self.0.len());
            self.0.extend_from_slice(now);
            let cut = char_boundary(&self.0);
            let rest = self.0.split_off(cut);
            emit(text(&std::mem::replace(&mut self.0, rest)));
            bytes = later;
        }
        self.0.extend_from_slice(bytes);
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

/// Where to cut `bytes` so that no character of well-formed UTF-8 is cut.
fn char_boundary(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    match bytes[tail..].iter().rposition(|&byte| byte & 0xC0 == 0xC0) {
        Some(lead) if bytes[tail + lead..].len() < char_length(bytes[tail + lead]) => tail + lead,
        _ => bytes.len(),
    }
}

fn char_length(lead: u8) -> usize {
    match lead {
        0xF0.. => 4,
        0xE0.. => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut out = Vec::new();
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.feed(chunk, &mut |line| out.push(line));
        }
        lines.flush(&mut |line| out.push(line));
        out
    }

    #[test]
    fn lines_are_split_wherever_the_writes_were() {
        assert_eq!(lines(&[b"one\ntw", b"o\r\n", b"", b"\nlast"]), ["one", "two", "", "last"]);
        assert_eq!(lines(&[b"end\n"]), ["end"]);
        assert_eq!(lines(&[b"\xff\xfeok"]), ["\u{fffd}\u{fffd}ok"]);
    }

    #[test]
    fn a_long_line_is_cut_and_no_character_with_it() {
        let long = format!("x{}", "\u{20ac}".repeat(MAX_LINE));
        let pieces = lines(&[long.as_bytes(), b"\nshort"]);
        assert!(pieces.iter().all(|piece| piece.len() <= MAX_LINE), "a piece is too long");
        assert_eq!(pieces[..pieces.len() - 1].concat(), long);
        assert_eq!(pieces.last().unwrap(), "short");
    }

    #[test]
    fn the_ring_keeps_the_newest_lines_and_numbers_them() {
        let ring = LogRing::default();
        for n in 0..MAX_LINES + 10 {
            ring.push(7, LogStream::Stdout, n.to_string());
        }
        let all = ring.after(0, usize::MAX);
        assert_eq!((all.len(), all[0].seq), (MAX_LINES, 11));
        let some = ring.after(all[1].seq, 2);
        assert_eq!(some.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["12", "13"]);
    }

    #[test]
    fn the_ring_is_bounded_in_bytes() {
        let ring = LogRing::default();
        for _ in 0..100 {
            ring.push(1, LogStream::Stderr, "y".repeat(MAX_LINE));
        }
        assert_eq!(ring.after(0, usize::MAX).len(), MAX_BYTES / MAX_LINE);
    }
}
