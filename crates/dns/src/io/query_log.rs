//! The lines of `log`.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::info;

use crate::answer::Transport;
use crate::metrics::{rcode_name, type_name};
use crate::wire::Query;

/// Writes a line about a query in the form CoreDNS gives it.
pub(super) fn write(
    query: &Query<'_>,
    (client, transport): (SocketAddr, Transport),
    (asked, response): (usize, &[u8]),
    took: Duration,
) {
    let protocol = if transport == Transport::Tcp { "tcp" } else { "udp" };
    let (wants_dnssec, payload) = query.edns.map_or((false, 512), |edns| (edns.dnssec_ok, edns.payload));
    info!(
        target: "dns::query",
        "{client} - {} \"{} IN {:?} {protocol} {asked} {wants_dnssec} {payload}\" {} {} {} {:.9}s",
        query.id,
        type_name(query),
        query.name,
        rcode_name(response),
        flags_of(response),
        response.len(),
        took.as_secs_f64(),
    );
}

fn flags_of(response: &[u8]) -> String {
    let &[_, _, first, second, ..] = response else { return String::new() };
    let flags = [(first, 0x80, "qr"), (first, 4, "aa"), (first, 2, "tc"), (first, 1, "rd"), (second, 0x80, "ra")];
    let set = flags.iter().filter(|(octet, bit, _)| octet & bit != 0).map(|&(_, _, name)| name);
    set.collect::<Vec<_>>().join(",")
}
