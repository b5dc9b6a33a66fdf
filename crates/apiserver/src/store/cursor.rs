//! A watch's place in the revision log of one resource.
//!
//! A watch owns no buffer: it reads the shared log when its client is ready for more. One that falls behind the log's
//! floor is told so ([`Compacted`]), so that a slow client costs no memory.

use std::sync::Arc;

use tokio::sync::watch;

use super::Shared;
use super::state::{Compacted, Event};
use crate::error::GroupResource;

/// Events handed out at once.
const CHUNK: usize = 128;

#[derive(Debug)]
pub(crate) struct Cursor {
    shared: Arc<Shared>,
    resource: GroupResource,
    position: u64,
    news: watch::Receiver<u64>,
}

impl Cursor {
    pub(super) fn new(shared: Arc<Shared>, resource: GroupResource, position: u64, news: watch::Receiver<u64>) -> Self {
        Self { shared, resource, position, news }
    }

    /// Everything up to this revision has been handed out.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next events, at once if there are any; else `None`, and the position is the newest revision there is.
    pub fn try_next(&mut self) -> Result<Option<Vec<Arc<Event>>>, Compacted> {
        self.news.mark_unchanged();
        let state = self.shared.state();
        let events = state.changes(&self.resource, self.position, CHUNK)?;
        match events.last() {
            Some(last) => self.position = last.change.object.revision,
            None => self.position = self.position.max(state.revision),
        }
        Ok(Some(events).filter(|events| !events.is_empty()))
    }

    /// Waits for the next events. Safe to cancel.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, Compacted> {
        loop {
            if let Some(events) = self.try_next()? {
                return Ok(events);
            }
            if self.news.changed().await.is_err() {
                // The sender lives as long as the state, which `shared` keeps alive.
                std::future::pending::<()>().await;
            }
        }
    }
}
