//! What runs in pods: it says whose it is, sends back what it gets, and remembers what should never have come.

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use datapath::Netns;

/// Where pods say whose they are.
pub const BANNER: u16 = 8080;
/// Where pods send back what they get.
pub const ECHO: u16 = 8081;
/// A datagram that must not arrive anywhere begins with this.
pub const FORBIDDEN: &str = "forbidden";

/// What went wrong, for all who look.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<String>>>);

impl Faults {
    pub fn tell(&self, fault: String) {
        self.0.lock().unwrap().push(fault);
    }

    /// All so far, which are not told again.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// Serves at whatever addresses the namespace has and will have, in both families.
pub fn serve(netns: &Netns, name: &str, faults: &Faults) {
    let tcp = |port| netns.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap()).unwrap();
    let (banner, echo) = (tcp(BANNER), tcp(ECHO));
    let datagrams = netns.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, BANNER)).unwrap()).unwrap();
    let (said, told, faults) = (name.to_owned(), name.to_owned(), faults.clone());
    thread::spawn(move || {
        // A client that is gone already has said why.
        banner.incoming().for_each(|stream| drop(stream.and_then(|mut stream| stream.write_all(said.as_bytes()))));
    });
    thread::spawn(move || echo.incoming().for_each(|stream| drop(thread::spawn(|| send_back(stream.unwrap())))));
    thread::spawn(move || answer(&datagrams, &told, &faults));
}

fn send_back(mut stream: TcpStream) {
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}

fn answer(socket: &UdpSocket, name: &str, faults: &Faults) {
    let mut buffer = [0; 128];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        let text = String::from_utf8_lossy(&buffer[..length]);
        if text.starts_with(FORBIDDEN) {
            faults.tell(format!("{name} got {text:?} from {client}"));
        }
        // A pod that is being disconnected has no way back.
        let _ = socket.send_to(name.as_bytes(), client);
    }
}
