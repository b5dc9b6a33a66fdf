//! ConfigMaps and Secrets that pods of this node refer to, each watched once for all who do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use apiserver::client::{CONFIG_MAPS, Client, Event, Gvr, ListOptions, SECRETS};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Which kind of object holds data for pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl DataKind {
    fn gvr(self) -> &'static Gvr {
        match self {
            Self::ConfigMap => &CONFIG_MAPS,
            Self::Secret => &SECRETS,
        }
    }

    /// As messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

type Key = (DataKind, String, String);

/// The objects watched for the pods of this node.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    watched: Arc<Mutex<HashMap<Key, Weak<Watched>>>>,
}

struct Watched {
    latest: watch::Receiver<Known>,
    _watch: AbortOnDropHandle<()>,
}

/// What is known of an object.
#[derive(Debug, Clone, Default)]
enum Known {
    /// The first answer is still to come.
    #[default]
    Nothing,
    /// There is none of this name.
    Absent,
    /// It is this.
    Present(Arc<Value>),
}

impl Objects {
    /// Watches through `client`.
    pub fn new(client: Client) -> Self {
        Self { client, watched: Arc::default() }
    }

    /// Begins to follow an object, or joins those who do.
    pub fn follow(&self, kind: DataKind, namespace: &str, name: &str) -> Followed {
        let key = (kind, namespace.to_owned(), name.to_owned());
        let mut all = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, watched| watched.strong_count() > 0);
        let watched = match all.get(&key).and_then(Weak::upgrade) {
            Some(watched) => watched,
            None => {
                let watched = Arc::new(self.watch(kind, namespace, name));
                all.insert(key, Arc::downgrade(&watched));
                watched
            }
        };
        Followed { latest: watched.latest.clone(), _watched: watched }
    }

    fn watch(&self, kind: DataKind, namespace: &str, name: &str) -> Watched {
        let only = ListOptions::fields(&format!("metadata.name={name}"));
        let mut events = self.client.watch(kind.gvr(), namespace, only);
        let (tell, latest) = watch::channel(Known::Nothing);
        let following = tokio::spawn(async move {
            loop {
                tell.send_replace(match events.next().await {
                    Event::Restarted(mut objects) => objects.pop().map_or(Known::Absent, present),
                    Event::Applied(object) => present(object),
                    Event::Deleted(_) => Known::Absent,
                });
            }
        });
        Watched { latest, _watch: AbortOnDropHandle::new(following) }
    }
}

fn present(object: Value) -> Known {
    Known::Present(Arc::new(object))
}

/// One followed object.
pub struct Followed {
    latest: watch::Receiver<Known>,
    _watched: Arc<Watched>,
}

impl Followed {
    /// The object, or `None` if there is none. Waits for the first answer of the API server.
    pub async fn get(&mut self) -> Option<Arc<Value>> {
        // The watch ends only when nobody follows any more.
        let known = self.latest.wait_for(|known| !matches!(known, Known::Nothing)).await.ok()?.clone();
        self.latest.mark_unchanged();
        match known {
            Known::Present(object) => Some(object),
            Known::Nothing | Known::Absent => None,
        }
    }

    /// Waits until it is no longer what [`Followed::get`] gave.
    pub async fn changed(&mut self) {
        if self.latest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
