//! Reading a log, and following it as it grows.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc::Sender;

use super::Container;
use super::log_lines::{LogView, tail_start};
use super::request::LogQuery;
use crate::shim::log::put_aside;

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// The log a query asks for.
///
/// # Errors
/// In the kubelet's words, when there is no such log.
pub fn choose_log(container: &Container, query: &LogQuery, name: &str) -> Result<PathBuf, String> {
    match (query.previous, &container.previous_log) {
        (false, _) => Ok(container.log.clone()),
        (true, Some(previous)) => Ok(previous.clone()),
        (true, None) => Err(format!("previous terminated container {name:?} not found")),
    }
}

/// Sends what a query asks for to `output`, until the log ends or the client is gone.
///
/// # Errors
/// When the log cannot be read; what was sent before stands.
pub async fn send(container: Container, log: PathBuf, query: LogQuery, output: Sender<Bytes>) -> io::Result<()> {
    let mut view = LogView::new(&query);
    let (old, mut reader) = open(&log, query.tail_lines)?;
    if !show(&mut view, &old, &output).await {
        return Ok(());
    }
    let mut watch = Watch::new(&log, container.place.directory())?;
    loop {
        // Asked before reading: what the container wrote before it ended is read after the question.
        let over = !query.follow || query.previous || container.place.exit().is_ok();
        loop {
            let chunk = reader.read()?;
            if chunk.is_empty() {
                break;
            }
            if !show(&mut view, &chunk, &output).await {
                return Ok(());
            }
        }
        if over {
            return Ok(());
        }
        tokio::select! {
            changed = watch.changed() => changed?,
            () = output.closed() => return Ok(()),
        }
    }
}

/// Shows the client some bytes of the log; false when it is gone or has got enough.
async fn show(view: &mut LogView, bytes: &[u8], output: &Sender<Bytes>) -> bool {
    let shown = view.show(bytes);
    (shown.is_empty() || output.send(shown.into()).await.is_ok()) && !view.is_full()
}

/// What of the log is to be shown at once, and a reader that goes on behind it.
fn open(log: &Path, tail: Option<usize>) -> io::Result<(Vec<u8>, Reader)> {
    let aside = fs::read(put_aside(log)).unwrap_or_default();
    let mut reader = Reader::open(log)?;
    let Some(lines) = tail else { return Ok((aside, reader)) };
    // Both files together are of bounded size.
    let mut text = aside;
    loop {
        let chunk = reader.read()?;
        if chunk.is_empty() {
            break;
        }
        text.extend(chunk);
    }
    let start = tail_start(&text, lines);
    Ok((text.split_off(start), reader))
}

/// Reads a log on through the moment in which it is put aside and begun anew.
struct Reader {
    path: PathBuf,
    file: File,
}

impl Reader {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: File::open(path)? })
    }

    /// The next bytes; empty when there are none yet.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = self.file.read(&mut chunk)?;
            if length > 0 {
                chunk.truncate(length);
                return Ok(chunk);
            }
            match fs::metadata(&self.path) {
                Ok(current) if current.ino() != self.file.metadata()?.ino() => self.file = File::open(&self.path)?,
                _ => return Ok(Vec::new()),
            }
        }
    }
}

/// Learns of changes to a log and to the directory in which its container's end is noted.
struct Watch(Receiver);

impl Watch {
    fn new(log: &Path, place: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let folder = log.parent().unwrap_or(Path::new("/"));
        inotify.add_watch(folder, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO)?;
        // A pod that is gone has no directory any more; its log still reads to the end.
        let _ = inotify.add_watch(place, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE_SELF);
        // Like a pipe it can be waited for and read; what is read does not matter, only that something was.
        Ok(Self(Receiver::from_file_unchecked(OwnedFd::from(inotify).into())?))
    }

    async fn changed(&mut self) -> io::Result<()> {
        let mut events = [0; 4096];
        self.0.read(&mut events).await.map(|_| ())
    }
}
