//! What the inside of a sandbox tells the `up` that waits outside: one JSON line an event.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// One event on the way up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Progress {
    /// The supervisor runs; `pid` is its id as seen by the boot process.
    Supervisor {
        /// Process id in the namespace of `up`.
        pid: i32,
    },
    /// The nodes' namespaces stand and are joined by the underlay.
    Nodes {
        /// Name and address of each.
        nodes: Vec<(String, String)>,
    },
    /// Every role was started; no further event follows.
    RolesStarted,
    /// It failed; no further event follows.
    Failed {
        /// The whole chain of causes, one sentence.
        reason: String,
    },
}

impl Progress {
    /// Writes the event as one line.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub fn write(&self, sink: &mut impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        sink.write_all(&line)?;
        sink.flush()
    }

    /// The next event, or `None` when the writer ended.
    ///
    /// # Errors
    /// When the line cannot be read or is no event.
    pub fn read(source: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if source.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line).map(Some).map_err(io::Error::from)
    }
}

/// An error and its causes as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_they_were_written() {
        let events = [
            Progress::Supervisor { pid: 7 },
            Progress::Nodes { nodes: vec![("node1".into(), "10.89.0.1".into())] },
            Progress::RolesStarted,
        ];
        let mut bytes = Vec::new();
        for event in &events {
            event.write(&mut bytes).unwrap();
        }
        let mut source = bytes.as_slice();
        let read: Vec<_> = std::iter::from_fn(|| Progress::read(&mut source).unwrap()).collect();
        assert_eq!(read, events);
    }
}
