//! Container logs in the form every Kubernetes log collector reads: `TIME stdout|stderr F|P TEXT`.
//!
//! Each line carries the time it was read, the stream, and whether it is a full line (`F`) or a part (`P`) of one that
//! was too long or had not ended when the container did.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// A longer line is written in parts.
const MAX_LINE: usize = 16 << 10;

/// The file is put aside when it has grown to this size: the kubelet's default.
const MAX_FILE_BYTES: u64 = 10 << 20;

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, and everything a terminal shows.
    Stdout,
    /// Standard error.
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        })
    }
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was read from the container.
    pub time: Timestamp,
    /// As it stands in the log.
    pub time_text: &'a str,
    /// Where it came from.
    pub stream: Stream,
    /// Whether the text is followed by more of the same line.
    pub partial: bool,
    /// The text, without the line's end.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Reads a line of a log, without its end. `None` if it is none.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |&byte| byte == b' ');
        let time_text = std::str::from_utf8(parts.next()?).ok()?;
        let stream = match parts.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let partial = parts.next()? == b"P";
        Some(Self { time: time_text.parse().ok()?, time_text, stream, partial, text: parts.next().unwrap_or_default() })
    }
}

/// Cuts a stream of bytes into log lines.
#[derive(Debug)]
pub struct LineCutter {
    stream: Stream,
    pending: Vec<u8>,
}

impl LineCutter {
    /// A cutter for `stream`.
    pub fn new(stream: Stream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Takes `bytes` read at `now` and gives back the log lines they complete.
    pub fn push(&mut self, bytes: &[u8], now: Timestamp) -> Vec<u8> {
        let mut lines = Vec::with_capacity(bytes.len() + 64);
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.pending.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            self.cut_parts(now, &mut lines);
            let text = std::mem::take(&mut self.pending);
            self.line('F', &text, now, &mut lines);
        }
        self.pending.extend_from_slice(rest);
        self.cut_parts(now, &mut lines);
        lines
    }

    /// Gives back what is left when the stream has ended.
    pub fn finish(&mut self, now: Timestamp) -> Vec<u8> {
        let mut lines = Vec::new();
        let text = std::mem::take(&mut self.pending);
        if !text.is_empty() {
            self.line('P', &text, now, &mut lines);
        }
        lines
    }

    fn cut_parts(&mut self, now: Timestamp, lines: &mut Vec<u8>) {
        while self.pending.len() > MAX_LINE {
            let rest = self.pending.split_off(MAX_LINE);
            let part = std::mem::replace(&mut self.pending, rest);
            self.line('P', &part, now, lines);
        }
    }

    fn line(&self, tag: char, text: &[u8], now: Timestamp, lines: &mut Vec<u8>) {
        lines.extend(format!("{} {} {tag} ", Moment(now), self.stream).into_bytes());
        lines.extend_from_slice(text);
        lines.push(b'\n');
    }
}

/// A time with all nine digits of its nanoseconds.
struct Moment(Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.9}", self.0)
    }
}

/// A log file that does not grow without end: once full it is put aside as `FILE.1`, replacing the one before.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl LogFile {
    /// Opens the log at `path` for appending, making its directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, MAX_FILE_BYTES)
    }

    fn with_limit(path: &Path, limit: u64) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { path: path.to_path_buf(), size: file.metadata()?.len(), file, limit })
    }

    /// Appends whole lines.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.size > 0 && self.size + lines.len() as u64 > self.limit {
            fs::rename(&self.path, put_aside(&self.path))?;
            *self = Self::with_limit(&self.path, self.limit)?;
        }
        self.file.write_all(lines)?;
        self.size += lines.len() as u64;
        Ok(())
    }
}

/// Where the log at `path` goes when it is full.
pub fn put_aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn lines_carry_time_stream_and_tag() {
        let mut cutter = LineCutter::new(Stream::Stderr);
        let now = at("2026-11-21T16:00:00.5Z");
        assert_eq!(cutter.push(b"one\ntw", now), b"2026-11-21T16:00:00.500000000Z stderr F one\n");
        assert_eq!(cutter.push(b"o\n", now), b"2026-11-21T16:00:00.500000000Z stderr F two\n");
        assert_eq!(cutter.push(b"rest", now), b"");
        assert_eq!(cutter.finish(now), b"2026-11-21T16:00:00.500000000Z stderr P rest\n");
        assert_eq!(cutter.finish(now), b"");
    }

    #[test]
    fn a_long_line_is_written_in_parts() {
        let mut cutter = LineCutter::new(Stream::Stdout);
        let mut lines = cutter.push(&vec![b'x'; MAX_LINE + 1], at("2026-11-21T16:00:00Z"));
        lines.extend(cutter.push(b"\n", at("2026-11-21T16:00:00Z")));
        let lines: Vec<_> = lines.split_inclusive(|&b| b == b'\n').map(|l| Line::parse(&l[..l.len() - 1])).collect();
        let seen: Vec<_> = lines.iter().flatten().map(|line| (line.partial, line.text.len())).collect();
        assert_eq!(seen, [(true, MAX_LINE), (false, 1)]);
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = Line::parse(b"2026-11-21T16:00:00.000000001Z stdout F a  b ").unwrap();
        assert_eq!((line.stream, line.partial, line.text), (Stream::Stdout, false, &b"a  b "[..]));
        assert_eq!(Line::parse(b"2026-11-21T16:00:00Z stdout F").map(|line| line.text), Some(&b""[..]));
        assert_eq!(Line::parse(b"nonsense"), None);
    }

    #[test]
    fn a_full_file_is_put_aside_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/0.log");
        let mut log = LogFile::with_limit(&path, 10).unwrap();
        for line in ["12345678\n", "second\n", "third567\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "third567\n");
        assert_eq!(fs::read_to_string(put_aside(&path)).unwrap(), "second\n");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    }
}
