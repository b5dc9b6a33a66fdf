//! Pods that come and go by the CNI plugin, whose calls are killed at any point; what they can when one is complete.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use datapath::Netns;
use datapath::route::{Route, RouteAction, RouteFilter, Rtnetlink};

use super::clients::{PATIENCE, Protocol, ask};
use super::plugin::{Attachment, Plugin, addresses, finish};
use super::random::Random;
use super::servers::{BANNER, Faults, serve};
use crate::world::NODE_ADDRESS;
use Protocol::{Tcp, Udp};

const PODS: u64 = 6;
/// About what a call takes, in microseconds.
const CALL: u64 = 20_000;
const FIRST_HOST_PORT: u16 = 20_000;

pub struct Pods<'a> {
    plugin: &'a Plugin,
    faults: &'a Faults,
    pods: Vec<Visitor>,
    /// What there was of other pods before.
    before: BTreeSet<String>,
    /// What every pod reaches: a Service's and a pod's address.
    always: Vec<SocketAddr>,
    /// How many calls were killed in the middle.
    pub killed: u32,
    /// How often a pod was asked, or asked others.
    pub asked: u32,
}

struct Visitor {
    name: String,
    host_port: u16,
    netns: Netns,
    state: State,
}

enum State {
    /// A call was killed: anything between connected and not.
    Unknown,
    Connected(Vec<IpAddr>),
    Disconnected,
}

impl<'a> Pods<'a> {
    /// Namespaces for pods that serve, none of them connected yet.
    pub fn new(plugin: &'a Plugin, always: Vec<SocketAddr>, faults: &'a Faults) -> Self {
        let visitor = |number: u64| {
            let name = format!("pod{number}");
            let netns = Netns::create_at(&plugin.netns(&name)).unwrap();
            serve(&netns, &name, faults);
            let host_port = FIRST_HOST_PORT + u16::try_from(number).unwrap();
            Visitor { name, host_port, netns, state: State::Disconnected }
        };
        let (pods, before) = ((0..PODS).map(visitor).collect(), traces(plugin));
        Self { plugin, faults, pods, before, always, killed: 0, asked: 0 }
    }

    /// Connects or disconnects one, or is killed at it; what was completed must show.
    pub fn step(&mut self, random: &mut Random) {
        let which = usize::try_from(random.below(PODS)).unwrap();
        let left = std::mem::replace(&mut self.pods[which].state, State::Unknown);
        let is_connected = matches!(left, State::Connected(_));
        let command = if is_connected || random.once_in(4) { "DEL" } else { "ADD" };
        let mut call = self.plugin.start(command, self.pods[which].attachment());
        if random.once_in(2) {
            #[expect(clippy::disallowed_methods, reason = "whenever it is, the call is to end then")]
            thread::sleep(Duration::from_micros(random.below(CALL)));
            self.killed += u32::from(call.try_wait().unwrap().is_none());
            call.kill().unwrap();
        }
        match (finish(call), command) {
            (Ok(answer), "ADD") => {
                let addresses = addresses(&answer);
                self.expect_reachable(which, &addresses);
                self.pods[which].state = State::Connected(addresses);
            }
            (Ok(_), _) => {
                if let State::Connected(addresses) = &left {
                    self.expect_gone(which, addresses);
                }
                self.pods[which].state = State::Disconnected;
            }
            // It was killed.
            (Err(why), _) if why.is_empty() => {}
            (Err(why), _) => self.faults.tell(format!("{command} of {}: {why}", self.pods[which].name)),
        }
    }

    /// The pod answers at its addresses and its port of the node, and reaches others, from the first packet on.
    fn expect_reachable(&mut self, which: usize, addresses: &[IpAddr]) {
        let pod = &self.pods[which];
        let own = addresses.iter().map(|address| SocketAddr::new(*address, BANNER));
        let inward = own.chain([pod.at_node()]).flat_map(|to| [(Tcp, to), (Udp, to)]);
        for (protocol, to) in inward {
            self.asked += 1;
            let answer = ask(protocol, to, PATIENCE);
            if !matches!(&answer, Ok(name) if *name == pod.name) {
                self.faults.tell(format!("{protocol:?} to {} at {to} after ADD: {answer:?}", pod.name));
            }
        }
        for (protocol, to) in self.always.iter().flat_map(|to| [(Tcp, *to), (Udp, *to)]) {
            self.asked += 1;
            if let Err(error) = pod.netns.run(|| ask(protocol, to, PATIENCE)).unwrap() {
                self.faults.tell(format!("{protocol:?} from {} to {to} after ADD: {error}", pod.name));
            }
        }
    }

    /// Nobody has the pod's addresses or its port of the node any more, and whoever asks learns it at once.
    fn expect_gone(&mut self, which: usize, addresses: &[IpAddr]) {
        let pod = &self.pods[which];
        let own = addresses.iter().map(|address| SocketAddr::new(*address, BANNER));
        for to in own.chain([pod.at_node()]) {
            self.asked += 1;
            let answer = ask(Tcp, to, PATIENCE);
            if !matches!(&answer, Err(error) if error.kind() == ErrorKind::ConnectionRefused) {
                self.faults.tell(format!("{} at {to} after DEL: {answer:?}", pod.name));
            }
        }
    }

    /// Disconnects all, and says what is left then.
    pub fn end(self) -> Vec<String> {
        for pod in &self.pods {
            self.plugin.call("DEL", pod.attachment());
        }
        traces(self.plugin).difference(&self.before).cloned().collect()
    }
}

/// Whatever there is of any pod on the node.
fn traces(plugin: &Plugin) -> BTreeSet<String> {
    let mut kernel = Rtnetlink::open().unwrap();
    let links = kernel.links().unwrap().into_iter().map(|link| link.name).filter(|name| name.starts_with("fwp"));
    let is_of_pod = |route: &Route| matches!(route.action, RouteAction::Link(_));
    let routes = kernel.routes(RouteFilter::Ours).unwrap().into_iter().filter(is_of_pod);
    let attachments = std::fs::read_dir(plugin.state.join("attachments")).into_iter().flatten();
    let attachments = attachments.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let ports = cni::recorded_host_ports(&plugin.state).unwrap().into_iter().map(|port| format!("{port:?}"));
    links.chain(routes.map(|route| format!("{route:?}"))).chain(attachments).chain(ports).collect()
}

impl Visitor {
    fn attachment(&self) -> Attachment<'_> {
        Attachment { pod: &self.name, host_port: self.host_port }
    }

    /// Where its node leads to it.
    fn at_node(&self) -> SocketAddr {
        SocketAddr::new(NODE_ADDRESS.parse().unwrap(), self.host_port)
    }
}
