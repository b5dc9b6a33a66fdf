//! Whether pods can be attached to a network: only once a CNI configuration is there.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;

use super::cni::read_network;

/// A look is due after so long even if the kernel reported nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What a container runtime says while no network is configured.
const NOT_INITIALIZED: &str = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                               message:Network plugin returns error: cni plugin not initialized";

/// Why there is no network; `None` if there is one.
pub fn network_problem(config: &Path) -> Option<String> {
    match read_network(config) {
        Ok(Some(_)) => None,
        Ok(None) => Some(NOT_INITIALIZED.to_owned()),
        Err(error) => Some(format!("{NOT_INITIALIZED}: {error}")),
    }
}

/// Keeps `problem` current until nobody listens.
pub async fn follow_network(config: PathBuf, problem: watch::Sender<Option<String>>) {
    let changes = DirectoryChanges::watch(&config).ok();
    loop {
        let now = network_problem(&config);
        problem.send_if_modified(|known| {
            let news = *known != now;
            known.clone_from(&now);
            news
        });
        tokio::select! {
            () = problem.closed() => return,
            () = next(changes.as_ref()) => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

async fn next(changes: Option<&DirectoryChanges>) {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

/// Changes of a directory's files, as the kernel reports them.
pub struct DirectoryChanges {
    /// Read like a pipe; what it says does not matter.
    events: Receiver,
}

impl DirectoryChanges {
    /// Begins to watch `directory`, which must exist: writes, new names and lost ones.
    pub fn watch(directory: &Path) -> std::io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_CLOSE_WRITE;
        inotify.add_watch(directory, flags)?;
        Ok(Self { events: Receiver::from_owned_fd_unchecked(OwnedFd::from(inotify))? })
    }

    /// Waits for the next change; several may be reported as one.
    pub async fn next(&self) {
        if self.events.readable().await.is_err() {
            return std::future::pending().await;
        }
        // What exactly has changed does not matter: whoever asks looks for himself.
        let mut buffer = [0; 4096];
        while self.events.try_read(&mut buffer).is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn the_network_is_ready_as_soon_as_a_configuration_appears() {
        let directory = tempfile::tempdir().unwrap();
        let (sender, mut problem) = watch::channel(None);
        let following = tokio::spawn(follow_network(directory.path().to_owned(), sender));
        problem
            .wait_for(|problem| problem.as_ref().is_some_and(|p| p.ends_with("cni plugin not initialized")))
            .await
            .unwrap();
        let unfinished = directory.path().join(".unfinished");
        fs::write(&unfinished, r#"{"name":"a","plugins":[{"type":"x"}]}"#).unwrap();
        fs::rename(unfinished, directory.path().join("05-a.conflist")).unwrap();
        problem.wait_for(Option::is_none).await.unwrap();
        drop(problem);
        following.await.unwrap();
    }
}
