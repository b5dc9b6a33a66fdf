//! Getting a pod's status to the API server: the latest one, as soon as possible, whatever is in between.

use std::time::Duration;

use apiserver::client::{Client, PODS, Patch};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Sends the status of one pod.
pub struct Publisher {
    wanted: watch::Sender<(u64, PodStatus)>,
    sent: watch::Receiver<u64>,
    _sender: AbortOnDropHandle<()>,
}

impl Publisher {
    /// A publisher for `pod`, whose status is known to the server as it stands in the object.
    pub fn new(client: Client, pod: &Pod) -> Self {
        let known = pod.status.clone().unwrap_or_default();
        let (wanted, waiting) = watch::channel((0, known));
        let (note, sent) = watch::channel(0);
        let sender = Sender {
            client,
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
        };
        let sending = tokio::spawn(sender.run(waiting, note));
        Self { wanted, sent, _sender: AbortOnDropHandle::new(sending) }
    }

    /// Has `status` sent, unless it was the last one.
    pub fn publish(&self, status: PodStatus) {
        self.wanted.send_if_modified(|(number, last)| {
            let news = *last != status;
            if news {
                (*number, *last) = (*number + 1, status);
            }
            news
        });
    }

    /// Waits until the last status has arrived, or will never.
    pub async fn flush(&mut self) {
        let number = self.wanted.borrow().0;
        // The other side ends only when the pod is gone from the server.
        let _ = self.sent.wait_for(|sent| *sent >= number).await;
    }
}

struct Sender {
    client: Client,
    namespace: String,
    name: String,
    uid: String,
}

impl Sender {
    async fn run(self, mut wanted: watch::Receiver<(u64, PodStatus)>, note: watch::Sender<u64>) {
        let mut retry = FIRST_RETRY;
        while wanted.changed().await.is_ok() {
            loop {
                let (number, status) = wanted.borrow_and_update().clone();
                match self.send(&status).await {
                    Sent::Arrived => {
                        retry = FIRST_RETRY;
                        note.send_replace(number);
                        break;
                    }
                    Sent::Gone => return,
                    Sent::Failed => {
                        tokio::time::sleep(retry).await;
                        retry = (retry * 2).min(LAST_RETRY);
                    }
                }
            }
        }
    }

    async fn send(&self, status: &PodStatus) -> Sent {
        // The uid makes sure that a successor of the same name is left alone.
        let patch = Patch::Strategic(json!({"metadata": {"uid": self.uid}, "status": status}));
        match self.client.patch_status(&PODS, &self.namespace, &self.name, &patch).await {
            Ok(_) => Sent::Arrived,
            Err(error) if error.is_not_found() || error.is_conflict() => Sent::Gone,
            Err(error) => {
                tracing::warn!(pod = format!("{}/{}", self.namespace, self.name), %error, "status not sent");
                Sent::Failed
            }
        }
    }
}

enum Sent {
    Arrived,
    Gone,
    Failed,
}
