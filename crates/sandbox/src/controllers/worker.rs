//! The loop around every controller: take a key, bring its object closer to what is wanted, come back if needed.

use std::{fmt::Display, hash::Hash, sync::Arc, time::Duration};

use apiserver::client::ClientError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::queue::WorkQueue;

/// When to look at a key again although nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Only when something changes.
    OnChange,
    /// Also after this long.
    After(Duration),
}

impl Next {
    /// After the sooner of several waits, if there is any.
    pub(super) fn soonest(waits: impl IntoIterator<Item = Duration>) -> Self {
        waits.into_iter().min().map_or(Self::OnChange, Self::After)
    }

    /// The wait, if there is one.
    pub(super) fn wait(self) -> Option<Duration> {
        match self {
            Self::OnChange => None,
            Self::After(wait) => Some(wait),
        }
    }
}

/// Brings the object of a key from what is to what is wanted.
pub(super) trait Reconcile: Send + Sync + 'static {
    /// What the queue holds.
    type Key: Clone + Ord + Hash + Display + Send + Sync + 'static;
    /// For logs and events, as in `deployment-controller`.
    const NAME: &'static str;
    /// How many keys may be in work at once.
    const WORKERS: usize = 4;

    /// Looks at one key and acts; must be safe to repeat.
    fn reconcile(&self, key: &Self::Key) -> impl Future<Output = Result<Next, ClientError>> + Send;
}

/// A controller with its queue.
pub(super) struct Controller<R: Reconcile> {
    pub(super) queue: Arc<WorkQueue<R::Key>>,
    pub(super) reconciler: Arc<R>,
}

impl<R: Reconcile> Controller<R> {
    /// Works on the queue until cancelled; work begun is finished.
    pub(super) async fn run(self, cancel: CancellationToken) {
        let mut workers = JoinSet::new();
        for _ in 0..R::WORKERS {
            workers.spawn(work(Arc::clone(&self.reconciler), Arc::clone(&self.queue), cancel.clone()));
        }
        while workers.join_next().await.is_some() {}
    }
}

async fn work<R: Reconcile>(reconciler: Arc<R>, queue: Arc<WorkQueue<R::Key>>, cancel: CancellationToken) {
    while let Some(key) = cancel.run_until_cancelled(queue.next()).await {
        match reconciler.reconcile(&key).await {
            Ok(next) => {
                queue.succeed(&key);
                if let Next::After(delay) = next {
                    queue.add_after(key, delay);
                }
            }
            Err(error) => {
                report(R::NAME, &key, &error);
                queue.fail(&key);
            }
        }
    }
}

fn report(controller: &str, key: &impl Display, error: &ClientError) {
    if error.is_conflict() || error.is_not_found() || error.is_already_exists() {
        tracing::debug!(controller, object = %key, %error, "somebody was faster, trying again");
    } else {
        tracing::warn!(controller, object = %key, %error, "cannot reconcile, trying again");
    }
}
