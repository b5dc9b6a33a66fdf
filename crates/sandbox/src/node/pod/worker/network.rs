//! Whether the node's network is ready, as one pod waits for it.

use tokio::sync::watch;

/// The network, with what was last seen of it.
pub(super) struct Network(watch::Receiver<Option<String>>);

impl Network {
    /// Follows `problem`: why there is no network, `None` once there is one.
    pub(super) fn new(problem: &watch::Receiver<Option<String>>) -> Self {
        Self(problem.clone())
    }

    /// Why there is no network now.
    pub(super) fn problem(&mut self) -> Option<String> {
        self.0.borrow_and_update().clone()
    }

    /// Waits until [`Network::problem`] may answer otherwise than it did. Can be cancelled and called again.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody looks after the network any more: the node ends.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_change_ends_one_wait_only() {
        let (tell, problem) = watch::channel(Some("no plugin".to_owned()));
        let mut network = Network::new(&problem);
        assert_eq!(network.problem().as_deref(), Some("no plugin"));
        assert_eq!(network.changed().now_or_never(), None);
        tell.send_replace(None);
        assert_eq!(network.changed().now_or_never(), Some(()));
        assert_eq!(network.problem(), None);
        assert_eq!(network.changed().now_or_never(), None);
        assert_eq!(network.changed().now_or_never(), None);
    }

    #[test]
    fn a_change_seen_before_the_wait_does_not_end_it() {
        let (tell, problem) = watch::channel(Some("no plugin".to_owned()));
        let mut network = Network::new(&problem);
        tell.send_replace(None);
        assert_eq!(network.problem(), None);
        assert_eq!(network.changed().now_or_never(), None);
        drop(tell);
        assert_eq!(network.changed().now_or_never(), None);
    }
}
