//! The peer: a chain per Service with an anonymous map to a chain per endpoint, written with the `nft` program. These
//! are the rules kube-proxy 1.33 writes for one family, without comments and counters.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use compile::sample::{PLAIN_PORT, TARGET_PORTS, plain_address, plain_endpoints};

use super::case::{Case, Size};
use super::feed::feed;

const TABLE: &str = "ip peer";

/// A table that is written to without asking what it holds.
pub struct Chains {
    size: Size,
    everything: String,
}

impl Case for Chains {
    fn prepare(size: &Size) -> Result<Self> {
        Ok(Self { size: *size, everything: ruleset(size) })
    }

    fn cold(&mut self) -> Result<()> {
        nft(&self.everything)
    }

    /// Rules of this shape are written anew at every start.
    fn restart(&mut self) -> Result<Option<bool>> {
        Ok(None)
    }

    fn change(&mut self, change: usize) -> Result<Duration> {
        let Size { services, endpoints, .. } = self.size;
        let text = match change {
            0 => service_more(services, endpoints),
            1 => service_less(services, endpoints),
            2 => endpoint_more(0, endpoints),
            _ => endpoint_less(0, endpoints),
        };
        let begun = Instant::now();
        nft(&text)?;
        Ok(begun.elapsed())
    }
}

/// Runs `nft` on a text, as one transaction.
fn nft(text: &str) -> Result<()> {
    feed("nft", &["-f", "-"], text)
}

fn ruleset(size: &Size) -> String {
    let mut text = format!("add table {TABLE}\n");
    let _ = writeln!(text, "add map {TABLE} services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}");
    text.push_str(&shared());
    for index in 0..size.services {
        text.push_str(&service_more(index, size.endpoints));
    }
    text
}

/// What is there once: the chains every packet or every connection goes through, as kube-proxy has them for one family,
/// with nothing in the maps that plain Services do not need.
fn shared() -> String {
    let maps = ["no-endpoint-services", "firewall-ips", "service-nodeports"];
    let filters = [
        ("prerouting", -110, "firewall-check"),
        ("input", -110, "endpoints-check"),
        ("forward", -110, "endpoints-check"),
        ("output", -110, "endpoints-check"),
        ("output", -110, "firewall-check"),
        ("output", -90, "cluster-ips-check"),
    ];
    let address = "ip daddr . meta l4proto . th dport";
    let mut text = String::new();
    // Writing into a String cannot fail.
    for map in maps {
        let _ = writeln!(text, "add map {TABLE} {map} {{ type ipv4_addr . inet_proto . inet_service : verdict; }}");
    }
    let _ = write!(
        text,
        "add set {TABLE} cluster-ips {{ type ipv4_addr; }}\n\
         add chain {TABLE} mark-for-masquerade\n\
         add rule {TABLE} mark-for-masquerade mark set mark or 0x4000\n\
         add chain {TABLE} masquerading\n\
         add rule {TABLE} masquerading mark and 0x4000 == 0 return\n\
         add rule {TABLE} masquerading mark set mark xor 0x4000\n\
         add rule {TABLE} masquerading masquerade fully-random\n\
         add chain {TABLE} firewall-check\n\
         add rule {TABLE} firewall-check {address} vmap @firewall-ips\n\
         add chain {TABLE} endpoints-check\n\
         add rule {TABLE} endpoints-check {address} vmap @no-endpoint-services\n\
         add chain {TABLE} cluster-ips-check\n\
         add rule {TABLE} cluster-ips-check ip daddr @cluster-ips reject\n\
         add chain {TABLE} services\n\
         add rule {TABLE} services {address} vmap @services\n\
         add rule {TABLE} services {address} vmap @service-nodeports\n"
    );
    for (hook, priority, check) in filters {
        let chain = format!("filter-{hook}{priority}");
        let _ = writeln!(text, "add chain {TABLE} {chain} {{ type filter hook {hook} priority {priority}; }}");
        let _ = writeln!(text, "add rule {TABLE} {chain} ct state new jump {check}");
    }
    for (hook, priority, chain) in
        [("prerouting", -100, "services"), ("output", -100, "services"), ("postrouting", 100, "masquerading")]
    {
        let _ = writeln!(text, "add chain {TABLE} nat-{hook} {{ type nat hook {hook} priority {priority}; }}");
        let _ = writeln!(text, "add rule {TABLE} nat-{hook} jump {chain}");
    }
    text
}

fn chain(index: u32) -> String {
    format!("service{index:06}")
}

/// The chain that masquerades a pod that reaches itself and translates to one endpoint.
fn endpoint_chain(index: u32, address: Ipv4Addr) -> String {
    format!("endpoint-{}-{address}", chain(index))
}

fn add_endpoint(index: u32, address: Ipv4Addr) -> String {
    let chain = endpoint_chain(index, address);
    let port = TARGET_PORTS[0];
    format!(
        "add chain {TABLE} {chain}\n\
         add rule {TABLE} {chain} ip saddr {address} jump mark-for-masquerade\n\
         add rule {TABLE} {chain} meta l4proto tcp dnat to {address}:{port}\n"
    )
}

/// The rules of a Service's chain.
fn balance(index: u32, endpoints: u32) -> String {
    let slots = plain_endpoints(index, endpoints).zip(0..);
    let slots: Vec<String> =
        slots.map(|(address, slot)| format!("{slot} : goto {}", endpoint_chain(index, address))).collect();
    let (chain, address, slots) = (chain(index), plain_address(index), slots.join(", "));
    format!(
        "add rule {TABLE} {chain} ip daddr {address} tcp dport {PLAIN_PORT} ip saddr != 10.244.0.0/16 jump mark-for-masquerade\n\
         add rule {TABLE} {chain} numgen random mod {endpoints} vmap {{ {slots} }}\n"
    )
}

fn frontend(index: u32) -> String {
    format!("{} . tcp . {PLAIN_PORT} : goto {}", plain_address(index), chain(index))
}

fn service_more(index: u32, endpoints: u32) -> String {
    let (chain, frontend, balance) = (chain(index), frontend(index), balance(index, endpoints));
    let endpoints: String = plain_endpoints(index, endpoints).map(|address| add_endpoint(index, address)).collect();
    format!("{endpoints}add chain {TABLE} {chain}\n{balance}add element {TABLE} services {{ {frontend} }}\n")
}

fn service_less(index: u32, endpoints: u32) -> String {
    let (chain, frontend) = (chain(index), frontend(index));
    let endpoints: String = plain_endpoints(index, endpoints).map(|address| delete_endpoint(index, address)).collect();
    format!(
        "delete element {TABLE} services {{ {frontend} }}\n\
         flush chain {TABLE} {chain}\ndelete chain {TABLE} {chain}\n{endpoints}"
    )
}

fn delete_endpoint(index: u32, address: Ipv4Addr) -> String {
    let chain = endpoint_chain(index, address);
    format!("flush chain {TABLE} {chain}\ndelete chain {TABLE} {chain}\n")
}

fn endpoint_more(index: u32, endpoints: u32) -> String {
    let last = plain_endpoints(index, endpoints + 1).last().map(|address| add_endpoint(index, address));
    format!("{}flush chain {TABLE} {}\n{}", last.unwrap_or_default(), chain(index), balance(index, endpoints + 1))
}

fn endpoint_less(index: u32, endpoints: u32) -> String {
    let last = plain_endpoints(index, endpoints + 1).last().map(|address| delete_endpoint(index, address));
    format!("flush chain {TABLE} {}\n{}{}", chain(index), balance(index, endpoints), last.unwrap_or_default())
}
