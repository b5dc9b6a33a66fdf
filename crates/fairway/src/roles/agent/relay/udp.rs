//! Datagrams: a conversation for each client, which ends when it falls silent.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

/// How long an answer may take. The kernel remembers a conversation of UDP no longer either.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);
/// The largest datagram there is.
const DATAGRAM_MAX: usize = 65_535;

/// A client's datagrams leave by a socket of their own, so that the answers find it.
type Conversations = Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>;

/// Receives at `from` and passes on to `to` until `cancel`. Without a free place a new client's datagrams are dropped.
pub(super) async fn run(
    from: SocketAddr,
    to: SocketAddr,
    places: Arc<Semaphore>,
    cancel: CancellationToken,
) -> io::Result<()> {
    let relay = Relay {
        listener: Arc::new(UdpSocket::bind(from).await?),
        to,
        places,
        conversations: Conversations::default(),
        tasks: TaskTracker::new(),
        cancel: cancel.clone(),
    };
    let receiving = async {
        let mut datagram = vec![0; DATAGRAM_MAX];
        loop {
            // An error here is an answer to something sent before, of a client that is gone.
            let Ok((len, client)) = relay.listener.recv_from(&mut datagram).await else { continue };
            if let Err(error) = relay.pass_on(client, &datagram[..len]).await {
                debug!(%error, %from, "a datagram to a node port was lost");
            }
        }
    };
    cancel.run_until_cancelled(receiving).await;
    relay.tasks.close();
    relay.tasks.wait().await;
    Ok(())
}

struct Relay {
    listener: Arc<UdpSocket>,
    to: SocketAddr,
    places: Arc<Semaphore>,
    conversations: Conversations,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Relay {
    async fn pass_on(&self, client: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let known = lock(&self.conversations).get(&client).cloned();
        let socket = match known {
            Some(socket) => socket,
            None => self.begin(client).await?,
        };
        socket.send(datagram).await.map(|_| ())
    }

    async fn begin(&self, client: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        let full = || io::Error::other("too many conversations with node ports at loopback addresses");
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| full())?;
        let any = if self.to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = Arc::new(UdpSocket::bind((any, 0)).await?);
        socket.connect(self.to).await?;
        lock(&self.conversations).insert(client, Arc::clone(&socket));
        let (listener, conversations) = (Arc::clone(&self.listener), Arc::clone(&self.conversations));
        let answers = Arc::clone(&socket);
        self.tasks.spawn(self.cancel.clone().run_until_cancelled_owned(async move {
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
