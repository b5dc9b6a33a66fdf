//! Datagrams: a conversation for each client, which ends when it falls silent.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{Loss, Relay};

/// How long an answer may take. The kernel remembers a conversation of UDP no longer either.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);
/// The largest datagram there is.
const DATAGRAM_MAX: usize = 65_535;

/// A client's datagrams leave by a socket of their own, so that the answers find it.
type Conversations = Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>;

/// Receives and passes on until cancelled. Without a free place a new client's datagrams are dropped.
pub async fn relay_datagrams(listener: UdpSocket, relay: Relay) {
    let at_work = AtWork {
        listener: Arc::new(listener),
        relay: relay.clone(),
        conversations: Conversations::default(),
        tasks: TaskTracker::new(),
    };
    let receiving = async {
        let mut datagram = vec![0; DATAGRAM_MAX];
        loop {
            // An error here is an answer to something sent before, of a client that is gone.
            let Ok((len, client)) = at_work.listener.recv_from(&mut datagram).await else { continue };
            if let Err(loss) = at_work.pass_on(client, &datagram[..len]).await {
                (relay.tell)(&loss);
            }
        }
    };
    relay.cancel.run_until_cancelled(receiving).await;
    at_work.tasks.close();
    at_work.tasks.wait().await;
}

struct AtWork {
    listener: Arc<UdpSocket>,
    relay: Relay,
    conversations: Conversations,
    tasks: TaskTracker,
}

impl AtWork {
    async fn pass_on(&self, client: SocketAddr, datagram: &[u8]) -> Result<(), Loss> {
        let known = lock(&self.conversations).get(&client).cloned();
        let socket = match known {
            Some(socket) => socket,
            None => self.begin(client).await?,
        };
        let sent = socket.send(datagram).await;
        sent.map(drop).map_err(|source| Loss::BrokenOff { from: self.relay.from, source })
    }

    async fn begin(&self, client: SocketAddr) -> Result<Arc<UdpSocket>, Loss> {
        let Relay { from, to, .. } = self.relay;
        let unreached = |source| Loss::Unreached { from, to, source };
        let place = Arc::clone(&self.relay.places).try_acquire_owned().map_err(|_| Loss::Full { from })?;
        let any = if to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = Arc::new(UdpSocket::bind((any, 0)).await.map_err(unreached)?);
        socket.connect(to).await.map_err(unreached)?;
        lock(&self.conversations).insert(client, Arc::clone(&socket));
        let (listener, conversations) = (Arc::clone(&self.listener), Arc::clone(&self.conversations));
        let answers = Arc::clone(&socket);
        self.tasks.spawn(self.relay.cancel.clone().run_until_cancelled_owned(async move {
            return_answers(&answers, &listener, client).await;
            lock(&conversations).remove(&client);
            drop(place);
        }));
        Ok(socket)
    }
}

/// Passes answers back until none has come for a while, or an error says that none will.
async fn return_answers(answers: &UdpSocket, listener: &UdpSocket, client: SocketAddr) {
    while let Ok(Ok(())) = timeout(SILENCE_LIMIT, answers.readable()).await {
        // Made anew, so that a thousand silent conversations do not keep a thousand of them.
        let mut datagram = vec![0; DATAGRAM_MAX];
        let sent = match answers.try_recv(&mut datagram) {
            Ok(len) => listener.send_to(&datagram[..len], client).await.map(|_| ()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn lock(
    conversations: &Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>,
) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Arc<UdpSocket>>> {
    // Nothing between lock and unlock leaves the map half changed.
    conversations.lock().unwrap_or_else(PoisonError::into_inner)
}
