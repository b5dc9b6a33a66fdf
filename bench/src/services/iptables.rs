//! The other peer: a rule and a chain per Service and a chain per endpoint, written with `iptables-nft-restore`. These are
//! the rules kube-proxy writes in iptables mode, and its way of changing them: the chain of all Services is written
//! anew each time, the chains of a Service only when it changes.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use compile::sample::{PLAIN_PORT, TARGET_PORTS, plain_address, plain_endpoints};

use super::case::{Case, Size};
use super::feed::feed;

/// The table `nat`, which is fed without asking what it holds.
pub struct Iptables {
    size: Size,
    everything: String,
}

impl Case for Iptables {
    fn prepare(size: &Size) -> Result<Self> {
        let chains: Vec<Chains> = (0..size.services).map(|index| Chains::new(index, size.endpoints)).collect();
        let shared =
            "-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n";
        let mut names = ["KUBE-MARK-MASQ", "KUBE-POSTROUTING"].map(str::to_owned).to_vec();
        names.extend(chains.iter().flat_map(Chains::names));
        let rules: String = [shared.to_owned()].into_iter().chain(chains.iter().map(Chains::rules)).collect();
        let everything = rewrite(size.services, &names, &rules, &[]);
        Ok(Self { size: *size, everything })
    }

    fn cold(&mut self) -> Result<()> {
        restore(&self.everything)
    }

    /// Rules of this shape are written anew at every start.
    fn restart(&mut self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn change(&mut self, change: usize) -> Result<Duration> {
        let Size { services, endpoints, .. } = self.size;
        let extra = Chains::new(services, endpoints);
        let text = match change {
            0 => rewrite(services + 1, &extra.names(), &extra.rules(), &[]),
            1 => rewrite(services, &extra.names(), "", &extra.names()),
            2 => {
                let more = Chains::new(0, endpoints + 1);
                rewrite(services, &more.names(), &more.rules(), &[])
            }
            _ => {
                let (before, less) = (Chains::new(0, endpoints + 1), Chains::new(0, endpoints));
                let gone = before.names().into_iter().filter(|name| !less.names().contains(name)).collect::<Vec<_>>();
                rewrite(services, &before.names(), &less.rules(), &gone)
            }
        };
        let begun = Instant::now();
        restore(&text)?;
        Ok(begun.elapsed())
    }
}

/// The chains of one Service.
struct Chains {
    index: u32,
    endpoints: Vec<Ipv4Addr>,
}

impl Chains {
    fn new(index: u32, endpoints: u32) -> Self {
        Self { index, endpoints: plain_endpoints(index, endpoints).collect() }
    }

    fn names(&self) -> Vec<String> {
        let of_endpoints = self.endpoints.iter().map(|address| endpoint_chain(self.index, *address));
        of_endpoints.chain([service_chain(self.index)]).collect()
    }

    fn rules(&self) -> String {
        let (chain, address) = (service_chain(self.index), plain_address(self.index));
        let mut text = format!(
            "-A {chain} ! -s 10.244.0.0/16 -d {address}/32 -p tcp -m tcp --dport {PLAIN_PORT} -j KUBE-MARK-MASQ\n"
        );
        for (endpoint, left) in self.endpoints.iter().zip((1..=self.endpoints.len()).rev()) {
            let (to, port) = (endpoint_chain(self.index, *endpoint), TARGET_PORTS[0]);
            let draw = match left {
                1 => String::new(),
                left => format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64),
            };
            let _ = write!(
                text,
                "-A {chain} {draw}-j {to}\n\
                 -A {to} -s {endpoint}/32 -j KUBE-MARK-MASQ\n\
                 -A {to} -p tcp -m tcp -j DNAT --to-destination {endpoint}:{port}\n"
            );
        }
        text
    }
}

fn restore(text: &str) -> Result<()> {
    feed("iptables-nft-restore", &["--noflush"], text)
}

/// What writes the chain of all Services and some other chains anew, and deletes some.
fn rewrite(services: u32, chains: &[String], rules: &str, gone: &[String]) -> String {
    let mut text = "*nat\n:KUBE-SERVICES - [0:0]\n".to_owned();
    // To declare a chain that is there empties it. Writing into a String cannot fail.
    for chain in chains {
        let _ = writeln!(text, ":{chain} - [0:0]");
    }
    for index in 0..services {
        let (address, chain) = (plain_address(index), service_chain(index));
        let _ = writeln!(text, "-A KUBE-SERVICES -d {address}/32 -p tcp -m tcp --dport {PLAIN_PORT} -j {chain}");
    }
    text.push_str(rules);
    for chain in gone {
        let _ = writeln!(text, "-X {chain}");
    }
    text.push_str("COMMIT\n");
    text
}

fn service_chain(index: u32) -> String {
    format!("KUBE-SVC-{index:016}")
}

fn endpoint_chain(index: u32, address: Ipv4Addr) -> String {
    format!("KUBE-SEP-{index:06}{:010}", address.to_bits())
}
